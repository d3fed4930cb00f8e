"""A certificate authority, and the certificates of the hosts for which it may sign.

ECDSA P-256, ten years. The nodes trust the authority, and its key is stored next to the inventory. So an authority is
constrained to one DNS name and the names below it, if its members share one, and its key can sign for no other name.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tercet.inventory.generated import Pair

LIFETIME = timedelta(days=3652)
CLOCK_SKEW = timedelta(days=1)
# Of the group of P-256 (SEC 2, 2.4.2).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def make_authority(title: str, host: str) -> Pair:
    """A new certificate authority that may sign only for that host and the names below it; "": for any."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(title), _name(title), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if host:
        builder = builder.add_extension(x509.NameConstraints([x509.DNSName(host)], None), critical=True)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def make_server(host: str, authority: Pair) -> Pair:
    """A new server certificate for `host`. Raises ValueError if `authority` is not PEM with an elliptic curve key."""
    issuer = serialization.load_pem_private_key(authority.key.encode(), password=None)
    issuer_certificate = x509.load_pem_x509_certificate(authority.certificate.encode())
    if not isinstance(issuer, ec.EllipticCurvePrivateKey):
        raise ValueError("expected an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(host), issuer_certificate.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_signed_with(issuer_certificate), critical=False)
    )
    return _pair(builder.sign(issuer, hashes.SHA256()), key)


def derived(hosts: Sequence[str], authority: Pair) -> Pair:
    """The certificate of a member with these names or IP addresses, for both sides of a connection, and its key. It is
    always the same for the same names and authority, so nobody needs to store it, and ends with the authority.

    Raises ValueError if `authority` is not PEM with an elliptic curve key.
    """
    issuer = serialization.load_pem_private_key(authority.key.encode(), password=None)
    issuer_certificate = x509.load_pem_x509_certificate(authority.certificate.encode())
    if not isinstance(issuer, ec.EllipticCurvePrivateKey):
        raise ValueError("expected an elliptic curve key")
    seed = issuer.private_numbers().private_value.to_bytes(32, "big")
    digest = hmac.digest(seed, "\0".join(hosts).encode(), "sha512")
    # 320 bits, reduced to the order of the group, are as good as random (FIPS 186-5, A.2.1).
    key = ec.derive_private_key(int.from_bytes(digest[:40], "big") % (_ORDER - 1) + 1, ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(hosts[0]))
        .issuer_name(issuer_certificate.subject)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(digest[40:56], "big") | 1)
        .not_valid_before(issuer_certificate.not_valid_before_utc)
        .not_valid_after(issuer_certificate.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(_signed_with(issuer_certificate), critical=False)
    )
    return _pair(builder.sign(issuer, hashes.SHA256(), ecdsa_deterministic=True), key)


def end_of(certificate: str) -> datetime:
    """When the certificate ends. Raises ValueError if it is not PEM."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def signed_by(pair: Pair, authority: Pair) -> bool:
    """Whether the certificate matches its key and was signed by the authority. Raises ValueError if one is not PEM."""
    certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
    key = serialization.load_pem_private_key(pair.key.encode(), password=None)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # cryptography raises ValueError, TypeError or InvalidSignature; each means no
        return False
    return certificate.public_key() == key.public_key()


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _signed_with(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Without it, a client of Python 3.13 refuses the certificate."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    return Pair(
        certificate.public_bytes(pem).decode(),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
    )
