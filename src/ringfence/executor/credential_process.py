"""``python -m ringfence.executor.credential_process N``: for AWS profiles inside an execution.

Prints the run's credential number ``N`` as the AWS SDKs' ``credential_process`` reads it, renewed
by the runner. It needs the variables of the execution and nothing else.
"""

from __future__ import annotations

import json
import sys

from ringfence.attached import attach
from ringfence.errors import EXIT_USAGE, RingfenceError


def main(arguments: list[str]) -> int:
    """Prints the document; a sentence on standard error, and no traceback, where it cannot."""
    if len(arguments) != 1 or not arguments[0].isdecimal():
        sys.stderr.write("usage: python -m ringfence.executor.credential_process NUMBER\n")
        return EXIT_USAGE
    from ringfence.providers.s3.tools import process_document

    try:
        print(json.dumps(process_document(attach().credential(int(arguments[0])))))
    except RingfenceError as error:
        sys.stderr.write(f"ringfence: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
