"""Drawing certificates: ECDSA on P-256, which every TLS library of the last decade speaks, and whose keys cost nothing to make."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from baas_operator.desired.secrets import Certificate

_SLACK = timedelta(hours=1)
"""A clock that is behind must not find a certificate that is not valid yet."""
_PURPOSES = {
    "server": [ExtendedKeyUsageOID.SERVER_AUTH],
    "client": [ExtendedKeyUsageOID.CLIENT_AUTH],
    "peer": [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
}


class CannotSignError(Exception):
    """What an authority's Secret holds can not sign a certificate."""


def draw(certificate: Certificate, authority: tuple[str, str] | None, now: int) -> tuple[dict[str, str], datetime]:
    """The content of a certificate's Secret, and when it ends. `authority` is (certificate, key) in PEM of who signs; an authority
    that is renewed keeps its key, so that all it has signed stays good. `now` is a Unix time in seconds.

    Raises:
        CannotSignError: the authority's Secret holds nothing that can sign, or its certificate is of another key.
    """
    start = datetime.fromtimestamp(now, UTC)
    end = start + timedelta(days=certificate.days)
    signer, issuer = _load(*authority) if authority else (None, None)
    if certificate.usage == "ca":
        key = signer or ec.generate_private_key(ec.SECP256R1())
        signer, issuer = key, None
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    assert signer is not None
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, certificate.common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _SLACK)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    pem = _extended(builder, certificate).sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    if certificate.usage == "ca":
        return {"ca.crt": pem, "ca.key": _pem(key)}, end
    assert authority is not None
    return {"tls.crt": pem, "tls.key": _pem(key), "ca.crt": authority[0]}, end


def _extended(builder: x509.CertificateBuilder, certificate: Certificate) -> x509.CertificateBuilder:
    authority = certificate.usage == "ca"
    usage = x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage(_PURPOSES[certificate.usage]), critical=False)
    if certificate.dns_names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in certificate.dns_names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder


def _load(certificate: str, key: str) -> tuple[ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, x509.Certificate]:
    try:
        issuer = x509.load_pem_x509_certificate(certificate.encode())
        signer = serialization.load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: the key has a password
        raise CannotSignError(str(error)) from error
    if not isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CannotSignError("the authority's key is neither RSA nor ECDSA")
    if issuer.public_key() != signer.public_key():
        raise CannotSignError("the authority's certificate is of another key")
    return signer, issuer


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
