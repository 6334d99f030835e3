"""paho by itself, the way its own documentation uses it: publish() with its network loop in a thread.

Reads a call as JSON from each line of standard input and answers it with a line of JSON: an answer, or an error.
"""

import json
import sys
import threading
import time

import paho.mqtt as paho
import paho.mqtt.client as mqtt


def make_client():
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    return mqtt.Client(protocol=mqtt.MQTTv5)


client = make_client()


def open_client(options):
    ready = threading.Event()
    client.on_connect = lambda *_: ready.set()
    client.max_inflight_messages_set(options["window"])
    client.max_queued_messages_set(0)
    client.connect(options["host"], options["port"])
    client.loop_start()
    if not ready.wait(10):
        raise RuntimeError("no connection")


def publish(load):
    """Seconds until the last message is acknowledged."""
    done = threading.Event()
    left = load["count"]

    def acknowledged(*_):
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    client.on_publish = acknowledged
    payload = b"x" * load["bytes"]
    began = time.perf_counter()
    for number in range(load["count"]):
        client.publish(f"bench/{number % 1000}/x", payload, qos=load["qos"])
    if not done.wait(120):
        raise RuntimeError(f"{left} messages were not acknowledged")
    return time.perf_counter() - began


METHODS = {"open": open_client, "publish": publish}

print(json.dumps({"answer": paho.__version__}), flush=True)
for line in sys.stdin:
    call = json.loads(line)
    try:
        reply = {"answer": METHODS[call["method"]](call["argument"])}
    except Exception as error:  # what failed is told to whoever measures
        reply = {"error": repr(error)}
    print(json.dumps(reply), flush=True)
client.disconnect()
