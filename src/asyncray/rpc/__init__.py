"""How processes of asyncray talk: gRPC services and streams of messages, authenticated, over Unix sockets and TCP.

`network` is what the rest of the package sees; `stream` carries messages; `service` is the skeleton of a daemon.
"""

from asyncray.rpc import lean_betterproto as lean_betterproto
