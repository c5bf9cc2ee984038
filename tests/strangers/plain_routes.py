"""The routes that are not in the OpenAPI document: those of the dialects that others have described."""

import re

from support import ROOT


def source(*parts):
    return ROOT.joinpath("src", *parts).read_text()


def plain_routes():
    """Their paths, as the code has them; those about which Envoy asks with one path, one with a slash at its end, and none."""
    (verify,) = re.findall(r'const PATH: &str = "(.+)";', source("http", "forward_auth", "mod.rs"))
    yield from (verify, f"{verify}/", f"{verify}/x", f"{verify}/x/y.z/")
    for dialect in ("apolo", "kube_gateway", "kubernetes"):
        yield from re.findall(r'\(\s*"(/[^"]*)",\s*(?:get|post|admission::route|objects::(?:all|one))\(', source("http", dialect, "mod.rs"))


def with_a_slash():
    """Those that are served with a slash at their end, too."""
    for path in re.findall(r'^ +\("(/[^"]*)", get\(discovery::', source("http", "kubernetes", "mod.rs"), re.MULTILINE):
        yield f"{path}/"
