"""`gatemint credential aws` as boto3 uses it: README.md's ~/.aws/config, in front of an S3 service that judges tokens.

The service here takes the access key id of each signed request, as such services do, and asks gatemint whose it is.
"""

import base64
import http.server
import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path

import boto3
import botocore.exceptions
from support import BIN, ENVIRONMENT, ROOT, Serve, check, counted, decoded, equal, gatemint, get, temporary_directory

PASSWORD = "correct-horse-battery-staple"
BUCKETS = b'<?xml version="1.0"?><ListAllMyBucketsResult><Owner><ID>x</ID></Owner><Buckets><Bucket><Name>results</Name></Bucket></Buckets></ListAllMyBucketsResult>'
REFUSED = b'<?xml version="1.0"?><Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>'


class S3:
    """Lists one bucket for whoever shows a token that gatemint says is good."""

    def __init__(self, gatemint_url):
        self.tokens = []
        s3 = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                token = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/us-east-1/s3/aws4_request,", self.headers["Authorization"])[1]
                # An empty session token is none.
                equal(self.headers["X-Amz-Security-Token"], None, "the header of a session token")
                good = get(f"{gatemint_url}/v1/me", {"Authorization": f"Bearer {token}"}).status == 200
                s3.tokens.append(token)
                self.send_response(200 if good else 403)
                self.end_headers()
                self.wfile.write(BUCKETS if good else REFUSED)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Home:
    """A home in which ada is signed in, with README.md's configuration, and with another file and address."""

    def __init__(self, place, serve, s3, file):
        self.place, self.serve = place, serve
        readme = (ROOT / "README.md").read_text()
        config = re.search(r"^### As credentials for S3\n.*?^```ini\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL).group(1)
        for old, new in (("https://s3.example.org", s3.url), ("/etc/secrets/ezua/.auth_token", str(file))):
            check(config.count(old) == 1, f"README.md's configuration has {old}")
            config = config.replace(old, new)
        self.with_file = config
        self.environment = {"HOME": str(place), "PATH": f"{Path(BIN).parent}:{os.environ['PATH']}", "AWS_CONFIG_FILE": str(place / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(place / "none")}
        self.gatemint("login", "--url", serve.url, "--username", "ada", "--password-stdin", stdin=PASSWORD)

    def gatemint(self, *arguments, stdin=""):
        inherited = {key: value for key, value in ENVIRONMENT.items() if key != "XDG_CONFIG_HOME"}
        done = subprocess.run(
            [BIN, *arguments], input=stdin, env={**inherited, **self.environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        equal(done.returncode, 0, f"the exit code of gatemint {' '.join(arguments)} ({done.stderr})")
        return done.stdout.strip()

    def client(self, config):
        """An S3 client as a new program has it."""
        (self.place / "config").write_text(config)
        for name in list(os.environ):
            if name.startswith(("AWS_", "GATEMINT_")) or name == "XDG_CONFIG_HOME":
                del os.environ[name]
        os.environ.update(self.environment)
        return boto3.session.Session().client("s3")


def buckets(client):
    return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


def unsigned(**claims):
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()  # noqa: E731
    return f"{part({'alg': 'none'})}.{part(claims)}.c2ln"


def main():
    with temporary_directory() as place, Serve(place / "data") as serve:
        gatemint("user", "create", "ada", "--password-stdin", "--data", str(serve.data), stdin=PASSWORD)
        s3, file = S3(serve.url), place / ".auth_token"
        home = Home(place, serve, s3, file)
        asked = 0

        # The file's token, and the next one as soon as it is there.
        kept = [home.gatemint("token") for _ in range(3)]
        equal(len(set(kept)), 3, "tokens, each of its own")
        file.write_text(kept[0])
        client = home.client(home.with_file)
        for token in kept:
            file.write_text(f"{token}\n")
            equal(buckets(client), ["results"], "what S3 lists")
            equal(s3.tokens[-1], token, "the access key id is the file's token")
            asked += 1
        credentials = client._request_signer._credentials
        equal(int(credentials._expiry_time.timestamp()), decoded(kept[-1])["exp"], "when the credentials end")

        # The login's, without a file.
        by_login = home.client(home.with_file.replace(f" --file {file}", ""))
        equal(buckets(by_login), ["results"], "what S3 lists")
        check(s3.tokens[-1] not in kept and decoded(s3.tokens[-1])["preferred_username"] == "ada", "a token of the login")
        asked += 1

        # A token that is over, or is none, is no credential: the program's own message says why, and shows nothing of it.
        over = unsigned(exp=int(time.time()) - 1)
        refused = 0
        for content, word in ((over, "ended at"), ("", "holds no access token"), ("secret", "holds no access token")):
            file.write_text(content)
            before = len(s3.tokens)
            try:
                buckets(home.client(home.with_file))
                raise AssertionError(f"{content!r} was used")
            except botocore.exceptions.CredentialRetrievalError as why:
                check(word in str(why) and "eyJ" not in str(why) and "secret" not in str(why), f"boto3 says {why}")
            equal(len(s3.tokens), before, "requests without a credential")
            refused += 1

        # A session that was ended opens nothing, whoever has signed with it.
        file.write_text(kept[-1])
        again = home.client(home.with_file)
        equal(buckets(again), ["results"], "what S3 lists")
        home.gatemint("logout")
        try:
            buckets(again)
            raise AssertionError("a session that was ended lists buckets")
        except botocore.exceptions.ClientError as why:
            equal(why.response["Error"]["Code"], "InvalidAccessKeyId", "what S3 says")
        asked += 2
        counted(f"{asked} requests to S3, signed by boto3 {boto3.__version__} with tokens that gatemint judged; {refused} files that hold none")


main()
