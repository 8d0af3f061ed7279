"""Opens the first page of a running dashboard as a browser does, and exits 1 where it shows an exception.

``python first_page.py PORT``, with Streamlit's own messages and websockets, in the dashboard's environment.
"""

import sys

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect


def page(port: int) -> tuple[list[str], list[str]]:
    """Kinds of the elements drawn, and the exceptions among them, until the script has finished."""
    kinds, exceptions = [], []
    address = f"ws://127.0.0.1:{port}/_stcore/stream"
    with connect(address, subprotocols=["streamlit"], max_size=None) as socket:
        ask = BackMsg()
        ask.rerun_script.query_string = ""
        socket.send(ask.SerializeToString())
        while True:
            message = ForwardMsg.FromString(socket.recv(timeout=120))
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                element = message.delta.new_element
                kinds.append(element.WhichOneof("type"))
                if kinds[-1] == "exception":
                    exceptions.append(f"{element.exception.type}: {element.exception.message}")
            elif kind == "script_finished":
                return kinds, exceptions


def main() -> int:
    kinds, exceptions = page(int(sys.argv[1]))
    print(*(f"{kind} {kinds.count(kind)}" for kind in sorted(set(kinds))), *exceptions, sep="\n")
    return 1 if exceptions or "plotly_chart" not in kinds else 0


if __name__ == "__main__":
    sys.exit(main())
