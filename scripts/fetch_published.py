"""The policies of the published benchmark, converted: python scripts/fetch_published.py"""

import _checkout

if __name__ == "__main__":
    _checkout.run("fetch-published")
