"""What the predefined roles contain, by the documentation (Cloud Storage, "IAM roles", 2026)."""

from __future__ import annotations

from typing import Final

_FOLDERS: Final = frozenset(
    f"storage.folders.{verb}" for verb in ("create", "delete", "get", "list", "rename")
)
_UPLOADS: Final = frozenset(
    f"storage.multipartUploads.{verb}" for verb in ("abort", "create", "list", "listParts")
)

ROLES: Final[dict[str, frozenset[str]]] = {
    "roles/storage.objectViewer": frozenset(
        {
            "storage.folders.get",
            "storage.folders.list",
            "storage.managedFolders.get",
            "storage.managedFolders.list",
            "storage.objects.get",
            "storage.objects.list",
        }
    ),
    "roles/storage.objectCreator": frozenset(
        {
            "storage.folders.create",
            "storage.managedFolders.create",
            "storage.multipartUploads.abort",
            "storage.multipartUploads.create",
            "storage.multipartUploads.listParts",
            "storage.objects.create",
        }
    ),
    "roles/storage.objectUser": _FOLDERS
    | _UPLOADS
    | {
        "storage.managedFolders.create",
        "storage.managedFolders.delete",
        "storage.managedFolders.get",
        "storage.managedFolders.list",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
        "storage.objects.move",
        "storage.objects.restore",
        "storage.objects.update",
    },
    "roles/storage.legacyBucketWriter": _UPLOADS
    | {
        "storage.buckets.get",
        "storage.managedFolders.get",
        "storage.managedFolders.list",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.list",
        "storage.objects.restore",
    },
    "roles/storage.legacyBucketReader": frozenset(
        {
            "storage.buckets.get",
            "storage.managedFolders.get",
            "storage.managedFolders.list",
            "storage.multipartUploads.list",
            "storage.objects.list",
        }
    ),
}

OWNER: Final = ROLES["roles/storage.objectUser"] | ROLES["roles/storage.legacyBucketReader"]
"""What the installation's own account has on its buckets."""
