"""The requests of `proxies.py` through haproxy."""

from proxies import main

main(["haproxy"])
