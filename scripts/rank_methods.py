"""All methods of some runs side by side: python scripts/rank_methods.py run=[results/laptop,results/methods/*]"""

import _checkout

if __name__ == "__main__":
    _checkout.run("rank-methods")
