"""The script that one would write in place of ``ringfence run -- true``.

It assumes the role with an inline policy for one app and one user, and puts one object under the
session's credentials. It keeps no record and no log, and starts no command.
"""

import json
import os
import uuid

import boto3

APP, USER = "apps/bench/", "users/bench/apps/bench/"

bucket = os.environ["CONTENT_BUCKET"]
arn = f"arn:aws:s3:::{bucket}"
policy = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": [f"{arn}/{APP}*", f"{arn}/{USER}*"],
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": arn,
            "Condition": {"StringLike": {"s3:prefix": [f"{APP}*", f"{USER}*"]}},
        },
    ],
}
endpoint = os.environ.get("AWS_ENDPOINT")
sts = boto3.client("sts", endpoint_url=os.environ.get("AWS_STS_ENDPOINT") or endpoint)
session = sts.assume_role(
    RoleArn=os.environ["RUNTIME_ROLE_ARN"],
    RoleSessionName=f"bench-{uuid.uuid4().hex}",
    Policy=json.dumps(policy, separators=(",", ":")),
)["Credentials"]
s3 = boto3.client(
    "s3",
    endpoint_url=endpoint,
    aws_access_key_id=session["AccessKeyId"],
    aws_secret_access_key=session["SecretAccessKey"],
    aws_session_token=session["SessionToken"],
)
s3.put_object(Bucket=bucket, Key=f"{APP}bench/done", Body=b"done")
