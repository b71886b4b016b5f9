"""A Workload API client on unmodified py-spiffe: what a Python workload does with signet.

interop.py watch COUNT            print each X.509 context until COUNT have come
interop.py fetch                  print the X.509-SVIDs and bundles once
interop.py jwt AUDIENCE           fetch a JWT-SVID, validate it here and by the agent, print it
interop.py jwt-validate AUDIENCE  have the agent judge the token on standard input
interop.py serve PORT ID          mutual TLS server on 127.0.0.1 for one client that must have ID
interop.py dial PORT ID           mutual TLS client of a server on 127.0.0.1 that must have ID
interop.py health [SERVICE]       grpc.health.v1.Health/Check
"""

import os
import socket
import ssl
import sys
import tempfile
import threading

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc
from spiffe import JwtSource, TrustDomain, WorkloadApiClient, X509Source

TIMEOUT_S = 60


def print_context(context):
    for svid in context.x509_svids:
        leaf = svid.leaf
        print(f"svid {svid.spiffe_id} serial={leaf.serial_number:x} not_after={leaf.not_valid_after_utc.isoformat()}")
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(context.default_svid.spiffe_id.trust_domain)
    print(f"bundle {bundle.trust_domain} authorities={len(bundle.x509_authorities)}", flush=True)


def watch(count):
    left = [int(count)]
    done = threading.Event()
    failure = []

    def on_context(context):
        print_context(context)
        left[0] -= 1
        if left[0] <= 0:
            done.set()

    def on_error(error):
        if not done.is_set():  # closing the client cancels the stream
            failure.append(error)
        done.set()

    with WorkloadApiClient() as client:
        client.stream_x509_contexts(on_context, on_error)
        if not done.wait(TIMEOUT_S):
            raise TimeoutError(f"{left[0]} updates did not come")
    if failure:
        raise failure[0]


def fetch():
    with WorkloadApiClient() as client:
        print_context(client.fetch_x509_context())


def jwt(audience):
    with JwtSource() as source, WorkloadApiClient() as client:
        svid = source.fetch_svid({audience})
        validated = client.validate_jwt_svid(svid.token, audience)
        if validated.spiffe_id != svid.spiffe_id:
            raise ValueError(f"asked for {svid.spiffe_id}, validated {validated.spiffe_id}")
        print(f"valid {validated.spiffe_id}")
        print(svid.token)


def jwt_validate(audience):
    with WorkloadApiClient() as client:
        print(f"valid {client.validate_jwt_svid(sys.stdin.read().strip(), audience).spiffe_id}")


def tls_context(source, purpose):
    """Python's ssl takes certificate and key from files only: they live on tmpfs, for the time of the load."""
    context = ssl.SSLContext(purpose)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    svid = source.get_x509_context().default_svid
    bundle = source.get_bundle_for_trust_domain(TrustDomain("example.org"))
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as chain_and_key:
        for certificate in svid.cert_chain:
            chain_and_key.write(certificate.public_bytes(Encoding.PEM))
        chain_and_key.write(svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        chain_and_key.flush()
        context.load_cert_chain(chain_and_key.name)
    for authority in bundle.x509_authorities:
        context.load_verify_locations(cadata=authority.public_bytes(Encoding.DER))
    return context


def check_peer(connection, spiffe_id):
    peer = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))
    names = peer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ids = names.get_values_for_type(x509.UniformResourceIdentifier)
    if ids != [spiffe_id]:
        raise PermissionError(f"the peer is {ids}, not {spiffe_id}")


def serve(port, spiffe_id):
    with X509Source(timeout_in_seconds=TIMEOUT_S) as source, socket.create_server(("127.0.0.1", int(port))) as listener:
        listener.settimeout(TIMEOUT_S)
        print(f"listening 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        plain, _ = listener.accept()
        with tls_context(source, ssl.PROTOCOL_TLS_SERVER).wrap_socket(plain, server_side=True) as connection:
            check_peer(connection, spiffe_id)
            print(f"received {connection.makefile().readline().strip()}")
            connection.sendall(b"hello from python\n")


def dial(port, spiffe_id):
    with X509Source(timeout_in_seconds=TIMEOUT_S) as source:
        plain = socket.create_connection(("127.0.0.1", int(port)), timeout=TIMEOUT_S)
        with tls_context(source, ssl.PROTOCOL_TLS_CLIENT).wrap_socket(plain) as connection:
            check_peer(connection, spiffe_id)
            connection.sendall(b"hello from python\n")
            print(f"received {connection.makefile().readline().strip()}")


def health(service=""):
    with grpc.insecure_channel(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as channel:
        response = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S
        )
        print(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


COMMANDS = {
    "watch": watch,
    "fetch": fetch,
    "jwt": jwt,
    "jwt-validate": jwt_validate,
    "serve": serve,
    "dial": dial,
    "health": health,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    try:
        COMMANDS[sys.argv[1]](*sys.argv[2:])
    except Exception as error:  # the test reads one line
        sys.exit(f"interop: {type(error).__name__}: {error}")
