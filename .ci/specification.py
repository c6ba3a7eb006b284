"""State tests by the executable specification of the execution layer.

    specification.py convert FROM TO     the official tests of 2015 in today's form, for every fork
    specification.py fill FILE..         computes the entries of `post` that have no `hash`
    specification.py check FILE..        compares the entries that have one
    specification.py table FILE..        prints the table of what the entries expect, which
                                         `statetest --roots` reads (examples/statetest/roots.rs)

A test that the specification needs longer than SECONDS or more than MEMORY for keeps its empty
entry; `check` passes over it.
"""

import functools
import json
import logging
import multiprocessing
import pathlib
import resource
import signal
import sys
from io import StringIO

from ethereum.crypto.hash import keccak256
from ethereum_spec_tools.evm_tools import create_parser
from ethereum_spec_tools.evm_tools.t8n import T8N, ForkCache

# The forks with rules of their own up to Osaka, by their names in state tests.
FORKS = [
    "Frontier", "Homestead", "EIP150", "EIP158", "Byzantium", "ConstantinopleFix",
    "Istanbul", "Berlin", "London", "Paris", "Shanghai", "Cancun", "Prague", "Osaka",
]  # fmt: skip
SECONDS = 4  # of processor time
MEMORY = 3 << 30  # bytes of address space
GAS = 100_000_000  # No block has ever held more.
# The sender of nearly all official tests, and its key.
SENDER = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"
KEY = "45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8"


class Slow(Exception):
    pass


def number(text):
    """A number of a test: decimal, or hexadecimal behind 0x."""
    text = str(text)
    return int(text, 16) if text.startswith("0x") and len(text) > 2 else int(text.removeprefix("0x") or 0)


def data(text):
    """Bytes of a test, with or without 0x."""
    return "0x" + text.removeprefix("0x")


# --- the specification ---------------------------------------------------------------------------


def transaction(tables, indexes):
    """The transaction that an entry of `post` names, unsigned."""
    tx = {
        "input": data(tables["data"][indexes["data"]]),
        "gas": hex(number(tables["gasLimit"][indexes["gas"]])),
        "value": hex(number(tables["value"][indexes["value"]])),
        "nonce": hex(number(tables["nonce"])),
        "to": data(tables["to"]) if tables.get("to") else "",
        "v": "0x1b",
        "r": "0x1",
        "s": "0x1",
    }
    for name in ["gasPrice", "maxFeePerGas", "maxPriorityFeePerGas", "maxFeePerBlobGas"]:
        if name in tables:
            tx[name] = hex(number(tables[name]))
    for name in ["blobVersionedHashes", "authorizationList"]:
        if name in tables:
            tx[name] = tables[name]
    lists = tables.get("accessLists")
    if lists and lists[indexes["data"]] is not None:
        tx["accessList"] = lists[indexes["data"]]
    return tx


def environment(env):
    """The block. Hashes of earlier ones are what runners of state tests agree on."""
    env = {name: value for name, value in env.items() if name != "previousHash"}
    for name, value in env.items():
        if name.startswith("current") and name not in ["currentCoinbase", "currentRandom"]:
            env[name] = hex(number(value))
    at = number(env["currentNumber"])
    earlier = range(max(0, at - 256), at)
    env["blockHashes"] = {hex(n): "0x" + keccak256(str(n).encode()).hex() for n in earlier}
    env["withdrawals"] = []
    return env


def accounts(pre):
    return {
        data(address): {
            "balance": hex(number(account["balance"])),
            "nonce": hex(number(account["nonce"])),
            "code": data(account["code"]),
            "storage": {hex(number(k)): hex(number(v)) for k, v in account["storage"].items()},
        }
        for address, account in pre.items()
    }


@functools.cache
def options(fork):
    arguments = ["--input.alloc", "stdin", "--input.env", "stdin", "--input.txs", "stdin"]
    return create_parser().parse_args(["t8n", *arguments, "--state.fork", fork, "--state-test"])


def execute(test, block, fork, entry, cache):
    """What the specification makes of an entry of `post`; `block` is the same for all of them."""
    indexes = entry["indexes"]
    inputs = StringIO(json.dumps(block | {"txs": [transaction(test["transaction"], indexes)]}))
    tool = T8N(options(fork), StringIO(), inputs, cache)
    # The test says who the sender is; no key is needed.
    sender = tool.fork.hex_to_address(data(test["transaction"]["sender"]))
    tool.fork._module("fork").recover_sender = lambda *_: sender
    tool.run_state_test()
    result = {
        "hash": "0x" + tool.result.state_root.hex(),
        "indexes": indexes,
        "logs": "0x" + tool.result.logs_hash.hex(),
    }
    if tool.txs.rejected_txs:
        result["expectException"] = str(tool.txs.rejected_txs[0]).splitlines()[0]
    return result


def late(*_):
    raise Slow


def limit():
    signal.signal(signal.SIGPROF, late)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def attempt(place, *arguments):
    """What `execute` gives; none where that takes too much."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return execute(*arguments)
    except (Slow, MemoryError, OverflowError):
        return None
    except Exception as error:  # a test that is no input of the specification
        print(f"{place}: {error!r}", file=sys.stderr)
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def each_entry(path, pick, use):
    """Computes the entries of a file's tests that `pick` wants, and hands them to `use`."""
    tests = json.loads(pathlib.Path(path).read_text())
    with ForkCache() as cache:
        for name, test in tests.items():
            # A list of whole transactions has no expectations.
            if isinstance(test["transaction"], list):
                continue
            block = {"env": environment(test["env"]), "alloc": accounts(test["pre"])}
            entries = [
                (f"{path} {name} {fork}[{at}]", fork, entries, at)
                for fork, entries in test["post"].items()
                for at, entry in enumerate(entries)
                if fork in FORKS and pick(entry)
            ]
            for place, fork, entries, at in entries:
                result = attempt(place, test, block, fork, entries[at], cache)
                use(place, entries, at, result)
    return tests


def fill(path):
    """Returns how many entries were filled, and how many are left."""
    counts = {"filled": 0, "left": 0}

    def use(_place, entries, at, result):
        counts["filled" if result else "left"] += 1
        entries[at] = result or entries[at]

    tests = each_entry(path, lambda entry: "hash" not in entry, use)
    pathlib.Path(path).write_text(json.dumps(tests, indent=2, sort_keys=True) + "\n")
    return counts


def check(path):
    """Returns how many entries agree, and how many do not."""
    counts = {"agree": 0, "differ": 0, "left": 0}

    def use(place, entries, at, result):
        entry = entries[at]
        if result is None:
            counts["left"] += 1
            return
        refused = ["expectException" in entry, "expectException" in result]
        same = refused == [True, True] or (
            refused == [False, False]
            and [entry["hash"], entry.get("logs", result["logs"])] == [result["hash"], result["logs"]]
        )
        counts["agree" if same else "differ"] += 1
        if not same:
            print(f"{place}: {entry}, specification {result}")

    each_entry(path, lambda entry: "hash" in entry, use)
    return counts


# --- the tests of 2015 ---------------------------------------------------------------------------


def generalized(env, pre, tx):
    """A state test with an empty entry for every fork; none where no block has the gas."""
    if number(tx["gasLimit"]) > GAS:
        return None
    price = number(tx["gasPrice"])
    env = {
        "currentBaseFee": hex(price // 2),
        "currentCoinbase": data(env["currentCoinbase"]),
        "currentDifficulty": hex(number(env["currentDifficulty"])),
        "currentExcessBlobGas": "0x0",
        # No header holds more than 64 bits of it, and some of these tests have 256.
        "currentGasLimit": hex(
            min(max(number(env["currentGasLimit"]), number(tx["gasLimit"])), 2**64 - 1)
        ),
        "currentNumber": hex(number(env["currentNumber"])),
        "currentRandom": "0x" + "00" * 30 + "beef",
        "currentTimestamp": hex(number(env["currentTimestamp"])),
    }
    tables = {
        "data": [data(tx["data"])],
        "gasLimit": [hex(number(tx["gasLimit"]))],
        "gasPrice": hex(price),
        "nonce": hex(number(tx["nonce"])),
        "sender": tx["sender"],
        "to": data(tx["to"]) if tx["to"] else "",
        "value": [hex(number(tx["value"]))],
    }
    indexes = {"data": 0, "gas": 0, "value": 0}
    post = {fork: [{"indexes": indexes}] for fork in FORKS}
    return {"env": env, "post": post, "pre": accounts(pre), "transaction": tables}


def state_test(test):
    tx = test["transaction"]
    if tx["secretKey"] != KEY:
        return None
    return generalized(test["env"], test["pre"], tx | {"sender": SENDER})


def vm_test(test):
    """A transaction that executes what the test does."""
    message, pre = test["exec"], dict(test["pre"])
    to = message["address"].removeprefix("0x")
    pre.setdefault(to, {"balance": 0, "nonce": 0, "code": "0x", "storage": {}})
    pre[to] = pre[to] | {"code": message["code"]}
    pre[SENDER] = {"balance": 10**30, "nonce": 0, "code": "0x", "storage": {}}
    tx = {
        "data": message["data"],
        # What the test has, or half of what a block has, after what the transaction itself takes.
        "gasLimit": min(number(message["gas"]), GAS // 2) + 21_000 + 68 * len(message["data"]),
        "gasPrice": 10,
        "nonce": 0,
        "sender": SENDER,
        "to": to,
        "value": number(message["value"]) % 10**20,
    }
    return generalized(test["env"], pre, tx)


def convert(source, target):
    """Writes one file of state tests for each file of the package."""
    count = 0
    for folder, one in [("StateTests", state_test), ("VMTests", vm_test)]:
        for path in sorted(pathlib.Path(source, folder).rglob("*.json")):
            # The three largest, of 130 MB, are one program with many thousand inputs.
            if path.stat().st_size > 10_000_000:
                continue
            tests = {name: one(test) for name, test in json.loads(path.read_text()).items()}
            tests = {name: test for name, test in tests.items() if test}
            to = pathlib.Path(target, path.relative_to(source))
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(json.dumps(tests, indent=2, sort_keys=True) + "\n")
            count += len(tests)
    print(f"{count} tests in {target}")


# --- the table of roots --------------------------------------------------------------------------


def identity(test):
    """What a test executes, as eight bytes that name it in the table."""
    parts = {part: test[part] for part in ["env", "pre", "transaction"]}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return keccak256(text.encode())[:8].hex()


def digest(entry):
    """Six bytes for the root and the logs; `-` for a transaction that is refused, `?` if not known."""
    if "expectException" in entry:
        return "-"
    if not {"hash", "logs"} <= entry.keys():
        return "?"
    return keccak256(bytes.fromhex(data(entry["hash"])[2:] + data(entry["logs"])[2:]))[:6].hex()


def table(path):
    """The lines of a file's tests."""
    lines = set()
    for test in json.loads(pathlib.Path(path).read_text()).values():
        if isinstance(test["transaction"], list):
            continue
        for at in range(max(map(len, test["post"].values()))):
            digests = [
                digest(entries[at]) if at < len(entries) else "?"
                for entries in (test["post"].get(fork, []) for fork in FORKS)
            ]
            if set(digests) == {"?"}:
                continue
            short = ["=" if at and digests[at - 1] == one else one for at, one in enumerate(digests)]
            lines.add(" ".join([identity(test), str(at), *short]))
    return lines


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    logging.disable(logging.CRITICAL)
    if command == "convert":
        return convert(*arguments)
    files = [
        str(file)
        for path in map(pathlib.Path, arguments)
        for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])
    ]
    if command == "table":
        print("# identity of a test, entry of its `post`, then for each fork: " + ", ".join(FORKS))
        return print("\n".join(sorted(set().union(*map(table, files)))))
    total = {}
    with multiprocessing.Pool(initializer=limit) as pool:
        for counts in pool.imap_unordered({"fill": fill, "check": check}[command], files):
            total = {name: total.get(name, 0) + count for name, count in counts.items()}
    print(", ".join(f"{count} {name}" for name, count in total.items()))
    return 1 if total.get("differ") else 0


if __name__ == "__main__":
    sys.exit(main())
