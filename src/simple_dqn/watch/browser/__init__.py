"""A game or a training in the browser: a server, its page, and what they exchange.

Needs aiohttp; imported only with ``--display browser`` or ``--page``.
"""
