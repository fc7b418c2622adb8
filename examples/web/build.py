"""Lays out the page in build/page: its own files, the library, the program that `make demo` trained. Serves it, too.

Any static server can serve that folder, if it calls a .wasm file application/wasm.

    python examples/web/build.py --serve 8000
"""

from __future__ import annotations

import argparse
import http.server
import shutil
import sys
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIBRARY = ROOT / "js" / "dist"
PROGRAM = ROOT / "build" / "demo" / "fashion.caudal"
OWN = ("*.html", "*.css", "*.js", "*.svg", "*.bin")


def lay_out(page: Path, program: Path) -> None:
    """Writes the folder anew, but for pictures of the page that tests left there."""
    if not (LIBRARY / "caudal.wasm").is_file():
        sys.exit(f"{LIBRARY.relative_to(ROOT)} has no library: run npm ci && npm run build in js/")
    if not program.is_file():
        sys.exit(f"there is no {program}: run make demo, which trains it")
    page.mkdir(parents=True, exist_ok=True)
    for pattern in OWN:
        for old in page.glob(pattern):
            old.unlink()
        for file in HERE.glob(pattern):
            shutil.copy(file, page)
    shutil.rmtree(page / "caudal", ignore_errors=True)
    shutil.copytree(LIBRARY, page / "caudal", ignore=shutil.ignore_patterns("*.d.ts", "*.map"))
    shutil.copy(program, page / "fashion.caudal")
    # Or a browser asks for each module only when it has read the one that imports it.
    modules = sorted(path.relative_to(page).as_posix() for path in page.rglob("*.js") if path.name != "worker.js")
    links = "".join(f'<link rel="modulepreload" href="{module}">\n' for module in modules)
    index = page / "index.html"
    index.write_text(index.read_text().replace("</head>", f"{links}</head>"))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Python's own, with the types that browsers insist on."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }


def main() -> None:
    """Reads the command line, lays out, serves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "page")
    parser.add_argument("--program", type=Path, default=PROGRAM, help="the file that the page opens")
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve it on this port of this machine, until Ctrl-C")
    options = parser.parse_args()
    lay_out(options.out, options.program)
    print(f"the page lies in {options.out}", flush=True)
    if options.serve is not None:
        address = ("127.0.0.1", options.serve)
        with http.server.ThreadingHTTPServer(address, partial(Handler, directory=options.out)) as server:
            print(f"open http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C ends it)", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print()


if __name__ == "__main__":
    main()
