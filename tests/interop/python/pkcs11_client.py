"""A process that runs for long and makes mutual TLS with keys of the PKCS#11 token, by python-pkcs11 and tlslite-ng.

Reads "load" and "connect LABEL PORT", a line each, and answers each with a line: "ok" and what the peer said, or
"failed" and why.
"""

import os
import socket
import sys

import pkcs11
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from pkcs11 import MGF, Attribute, Mechanism, ObjectClass
from pkcs11.util.ec import encode_ecdsa_signature
from tlslite.api import HandshakeSettings, TLSConnection, X509, X509CertChain

HASHES = {
    "sha256": (Mechanism.SHA256, MGF.SHA256),
    "sha384": (Mechanism.SHA384, MGF.SHA384),
    "sha512": (Mechanism.SHA512, MGF.SHA512),
}


class Identity:
    """A certificate of the token and its private key, found by their ID."""

    def __init__(self, session, certificate):
        self.leaf = X509()
        self.leaf.parseBinary(certificate[Attribute.VALUE])
        (self.key,) = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: certificate[Attribute.ID]})
        # What tlslite-ng takes for a private key: the public one, which signs in the token.
        self.signer = self.leaf.publicKey
        self.signer.sign = self.sign_ec if self.key.key_type == pkcs11.KeyType.EC else self.sign_rsa
        if self.key.key_type == pkcs11.KeyType.RSA:  # p11-kit before 0.25 knows no mechanism that hashes for EC
            self.sign_document(x509.load_der_x509_certificate(certificate[Attribute.VALUE]).public_key())

    def sign_document(self, public_key):
        """More data at once than any TLS handshake has."""
        document = bytes(1000000)
        signature = self.key.sign(document, mechanism=Mechanism.SHA256_RSA_PKCS)
        public_key.verify(signature, document, padding.PKCS1v15(), hashes.SHA256())

    def sign_ec(self, digest, *_):
        return bytearray(encode_ecdsa_signature(self.key.sign(bytes(digest), mechanism=Mechanism.ECDSA)))

    def sign_rsa(self, digest, padding, hash_name, salt_length):
        parameters = (*HASHES[hash_name], salt_length)
        return bytearray(self.key.sign(bytes(digest), mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=parameters))


def load(session):
    # A list first: a session has one search at a time.
    certificates = list(session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.TRUSTED: False}))
    return {certificate[Attribute.LABEL]: Identity(session, certificate) for certificate in certificates}


def connect(identity, port, authority):
    with socket.create_connection(("localhost", port)) as connection:
        tls = TLSConnection(connection)
        settings = HandshakeSettings()
        # It would compress its own certificate for a server that did not offer that.
        settings.certificate_compression_receive = []
        tls.handshakeClientCert(X509CertChain([identity.leaf]), identity.signer, settings=settings, serverName="localhost")
        server = x509.load_der_x509_certificate(bytes(tls.session.serverCertChain.x509List[0].bytes))
        server.verify_directly_issued_by(authority)
        tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
        page = b""
        while data := tls.recv(65536):
            page += data
    return page.decode().replace("\r", "").replace("\n", " ")


def main():
    with open(sys.argv[1], "rb") as file:
        authority = x509.load_pem_x509_certificate(file.read())
    token = pkcs11.lib(os.environ["PKCS11_MODULE_PATH"]).get_token(token_label="signet")
    session = token.open()
    identities = {}
    for line in sys.stdin:
        words = line.split()
        try:
            if words[0] == "load":
                identities = load(session)
                page = ""
            else:
                page = connect(identities[words[1]], int(words[2]), authority)
            print("ok", page, flush=True)
        except Exception as error:  # whatever it is, the case wants to see how it reads
            print("failed", type(error).__name__, error, flush=True)


main()
