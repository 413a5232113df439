"""A picture of one episode: python scripts/render.py task=car_launch"""

import _checkout

if __name__ == "__main__":
    _checkout.run("render")
