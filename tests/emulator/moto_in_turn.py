"""moto's server on a port of the loopback address, one request at a time.

moto's threads know nothing of each other: a transaction that fails puts back a copy of the whole table, with whatever
others have written meanwhile. DynamoDB's requests are atomic, so here each has the server for itself.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

TURN = threading.Lock()
APPLICATION = DomainDispatcherApplication(create_backend_app)


def in_turn(environ, start_response):
    with TURN:
        return list(APPLICATION(environ, start_response))


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), in_turn, threaded=True, request_handler=MotoRequestHandler)
