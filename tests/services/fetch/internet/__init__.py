"""A little internet: names, addresses and web servers that tests make up.

`world.Internet` lives in the test's process: public-looking addresses lead over a `cable` to real
servers on loopback, so that the whole rule on addresses runs and only the last hop is short.
`namespace` is the real thing: a network namespace of Linux with its own addresses, its own DNS and
its own web servers, in which the service itself runs.
"""
