#!/usr/bin/env -S python3 -B
"""Two equal apps under the same simulated load: one with Gantry's autoscaler, one with a HorizontalPodAutoscaler, side by side in one run.

    make bench-hpa

Starts a control plane of its own and gantryd, and stops both however it ends. Each app's load is spread over its ready replicas by their
annotation `sim/cpu`, as a load balancer would; both autoscalers have the target 60 %, 1 to 20 replicas and otherwise their defaults, and read the
same metrics-server. What comes out, in the folder --out: course.csv (one line a second), calls.csv (each change of a count), table.md.
"""

import argparse
import contextlib
import csv
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import load

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ("ours", "hpa")
HPA = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "hpa"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "hpa"},
        "minReplicas": load.MIN,
        "maxReplicas": load.MAX,
        "metrics": [{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": int(load.TARGET * 100)}},
        }],
    },
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, holds, patience=120):
    """Waits until something holds."""
    begin = time.monotonic()
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if holds():
                return
        if time.monotonic() - begin > patience:
            raise SystemExit(f"{what}: not within {patience} s")
        time.sleep(0.1)


class Api:
    """The Kubernetes API by way of `kubectl proxy`, on one connection for each thread."""

    def __init__(self, port):
        self.port, self.local = port, threading.local()

    def call(self, method, path, body=None, kind="application/json", keep=True):
        connection = getattr(self.local, "connection", None) if keep else None
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 if keep else None)
            if keep:
                self.local.connection = connection
        try:
            connection.request(method, path, body and json.dumps(body), {"content-type": kind})
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            self.local.connection = None
            raise
        if not keep:
            return answer
        text = answer.read()
        if answer.status >= 300 and answer.status != 404:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
        return json.loads(text)

    def pods(self, app):
        """Names of the replicas that take traffic, with what they use."""
        found = {}
        for pod in self.call("GET", f"/api/v1/namespaces/default/pods?labelSelector=gantry.dev%2Fapp%3D{app}")["items"]:
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
            if ready and "deletionTimestamp" not in pod["metadata"]:
                found[pod["metadata"]["name"]] = pod["metadata"].get("annotations", {}).get("sim/cpu")
        return found

    def use(self, pod, millicores):
        path = f"/api/v1/namespaces/default/pods/{pod}"
        self.call("PATCH", path, {"metadata": {"annotations": {"sim/cpu": f"{millicores}m"}}}, "application/merge-patch+json")


class Watch(threading.Thread):
    """Keeps the counts that are asked for, and when each was set."""

    def __init__(self, api, clock):
        super().__init__(daemon=True)
        self.api, self.clock, self.calls, self.count = api, clock, {name: [] for name in NAMES}, {}

    def run(self):
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                for line in self.api.call("GET", "/apis/apps/v1/namespaces/default/deployments?watch=1", keep=False):
                    event = json.loads(line)
                    name = event["object"].get("metadata", {}).get("name")
                    count = event["object"].get("spec", {}).get("replicas")
                    if name in NAMES and count is not None and self.count.get(name) != count:
                        self.count[name] = count
                        self.calls[name].append((round(self.clock(), 2), count))
            time.sleep(0.2)


def grpc_json(address, method, body):
    """Calls a method of gantryd by JSON."""
    call = urllib.request.Request(f"http://{address}/gantry.v1.{method}", json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method}: {error.read().decode(errors='replace')[:500]}") from error


def drive(api, watch, clock, phases, apps):
    """Plays the load; one row a second."""
    rows = []
    for second in range(phases[-1][0]):
        time.sleep(max(0, second - clock()))
        wanted = load.demand(second, phases)
        ready = {}
        for name in apps:
            pods = api.pods(name)
            ready[name] = len(pods)
            for pod, share in load.shares(wanted, list(pods)).items():
                if pods[pod] != f"{share}m":
                    api.use(pod, share)
        rows.append({
            "seconds": second,
            "load_cpu_millicores": wanted,
            "gantry_replicas": watch.count.get("ours", ""),
            "hpa_replicas": watch.count.get("hpa", ""),
            "required": load.required(wanted),
            "gantry_ready": ready.get("ours", ""),
            "hpa_ready": ready.get("hpa", ""),
        })
        if second % 15 == 0:
            print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
        if clock() > second + 3:
            print(f"the machine is too slow: second {second} took until {clock():.1f}", file=sys.stderr)
    return rows


def table(rows, calls, phases, apps):
    """What came of it, as Markdown."""
    said = {"ours": "Gantry", "hpa": "HPA"}
    show = lambda value: "-" if value is None else f"{value:.1f} s"
    ends = [at for at, *_ in load.changes(phases)][1:] + [phases[-1][0]]
    out = ["| load asks for | " + " | ".join(f"{said[a]}: first scale call | enough" for a in apps) + " |", "|---|" + "---:|---:|" * len(apps)]
    for (at, kind, before, after), end in zip(load.changes(phases), ends):
        cells = [show(value) for app in apps for value in load.reaction(calls[app], at, end, before, after)]
        out.append(f"| {kind} from {before} to {after} replicas at {at // 60}:{at % 60:02d} | " + " | ".join(cells) + " |")
    out += ["", "| over all | " + " | ".join(said[a] for a in apps) + " |", "|---|" + "---:|" * len(apps)]
    column = {"ours": "gantry_ready", "hpa": "hpa_ready"}
    sums = [load.balance([(row["required"], row[column[app]]) for row in rows]) for app in apps]
    out.append("| replica-seconds that were missing | " + " | ".join(str(missing) for missing, _ in sums) + " |")
    out.append("| replica-seconds that were idle | " + " | ".join(str(idle) for _, idle in sums) + " |")
    out.append("| changes of the count | " + " | ".join(str(sum(1 for at, _ in calls[a] if at >= 0)) for a in apps) + " |")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(ROOT / "target/autoscaling"), help="folder of what comes out (target/autoscaling)")
    parser.add_argument("--only", choices=NAMES, help="one of the two apps alone")
    parser.add_argument("--tail", type=int, default=0, metavar="S", help="so many seconds more of the last phase")
    parser.add_argument("--programs", default=os.environ.get("GANTRY_BIN_DIR", str(ROOT / "target/debug")), help="where gantryd is")
    given = parser.parse_args()
    apps = [given.only] if given.only else list(NAMES)
    phases = [*load.PHASES[:-1], (load.PHASES[-1][0] + given.tail, *load.PHASES[-1][1:])]
    out = pathlib.Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    cluster, plane = str(ROOT / "deploy/local/cluster"), str(out / "cluster")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as undo:
        undo.callback(subprocess.run, [cluster, "down", "--dir", plane], check=False)
        subprocess.run([cluster, "up", "--dir", plane, "--detach"], check=True)
        env = {**os.environ, "KUBECONFIG": f"{plane}/kubeconfig"}
        kubectl = subprocess.run(["bash", "-c", f'eval "$({cluster} env --dir {plane})" && command -v kubectl'], check=True, capture_output=True, text=True).stdout.strip()

        def start(*command):
            log = undo.enter_context(open(out / f"{pathlib.Path(command[0]).name}.log", "wb"))
            child = subprocess.Popen(command, env=env, stdout=log, stderr=log)
            undo.callback(lambda: (child.terminate(), child.wait(30)))

        address, admin, proxy = (f"127.0.0.1:{free_port()}" for _ in range(3))
        start(f"{given.programs}/gantryd", "--insecure-loopback", "--listen", address, "--admin-listen", admin)
        start(kubectl, "proxy", f"--port={proxy.rsplit(':', 1)[1]}")
        api = Api(int(proxy.rsplit(":", 1)[1]))
        until("gantryd is ready", lambda: urllib.request.urlopen(f"http://{admin}/readyz", timeout=5).status == 200)
        until("the proxy answers", lambda: api.call("GET", "/version"))

        begin = [None]
        clock = lambda: time.monotonic() - begin[0] if begin[0] else -1.0
        watch = Watch(api, clock)
        watch.start()
        first = load.required(load.demand(0, phases))
        for name in apps:
            spec = {
                "image": f"{name}:1",
                "replicas": first,
                "resources": {"requests": {"cpu": f"{load.REQUEST}m"}, "limits": {"cpu": f"{load.LIMIT}m"}},
                "podTemplatePatch": {"metadata": {"annotations": {"sim/ready-after": "3s", "sim/cpu": f"{load.demand(0, phases) // first}m"}}},
            }
            grpc_json(address, "AppService/DeployApp", {"app": {"name": f"namespaces/default/apps/{name}", "spec": spec}})
        until("the apps are ready", lambda: all(len(api.pods(name)) == first for name in apps))
        if "ours" in apps:
            grpc_json(address, "AutoscalerService/UpdateAutoscaler", {"autoscaler": {
                "name": "namespaces/default/apps/ours/autoscaler",
                "mode": "AUTOSCALER_MODE_ACTIVE",
                "minReplicas": load.MIN,
                "maxReplicas": load.MAX,
                "targets": [{"cpuPercent": int(load.TARGET * 100)}],
            }})
        if "hpa" in apps:
            api.call("POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", HPA)

            def sees():
                path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/hpa"
                return api.call("GET", path).get("status", {}).get("currentMetrics")

            until("the HorizontalPodAutoscaler has a reading", sees)
        begin[0] = time.monotonic()
        rows = drive(api, watch, clock, phases, apps)

    with open(out / "course.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    with open(out / "calls.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("app", "seconds", "replicas"))
        writer.writerows((name, *call) for name in apps for call in watch.calls[name])
    text = table(rows, watch.calls, phases, apps)
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
