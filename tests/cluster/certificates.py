"""Certificates for clusters with TLS."""

from __future__ import annotations

from pathlib import Path

import trustme


def cluster_certificates(folder: Path) -> dict[str, str]:
    """Settings of a `Cluster`: certificate, key and authority, written into the folder."""
    files = {f"tls_{kind}": str(folder / f"{kind}.pem") for kind in ("cert", "key", "ca")}
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(files["tls_key"])
    certificate.cert_chain_pems[0].write_to_path(files["tls_cert"])
    authority.cert_pem.write_to_path(files["tls_ca"])
    return files
