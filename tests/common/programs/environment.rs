//! Programs that ask for the frame, the block and the chain.

use super::Program;

pub const ENVIRONMENT: &[Program] = &[
    (
        "who",
        "ADDRESS 0 MSTORE ORIGIN 32 MSTORE CALLER 64 MSTORE CALLVALUE 96 MSTORE",
    ),
    (
        "sizes",
        "CALLDATASIZE 0 MSTORE CODESIZE 32 MSTORE GASPRICE 64 MSTORE",
    ),
    (
        "block",
        "COINBASE 0 MSTORE TIMESTAMP 32 MSTORE NUMBER 64 MSTORE DIFFICULTY 96 MSTORE GASLIMIT 128 MSTORE",
    ),
    ("CHAINID", "CHAINID 0 MSTORE"),
    ("SELFBALANCE", "SELFBALANCE 0 MSTORE"),
    ("BASEFEE", "BASEFEE 0 MSTORE"),
    ("BLOBBASEFEE", "BLOBBASEFEE 0 MSTORE"),
    (
        "BLOBHASH",
        "0 BLOBHASH 0 MSTORE 1 BLOBHASH 32 MSTORE 2 BLOBHASH 64 MSTORE MAX BLOBHASH 96 MSTORE 2^64 BLOBHASH 128 MSTORE",
    ),
    (
        "BLOCKHASH",
        "19999999 BLOCKHASH 0 MSTORE 19999744 BLOCKHASH 32 MSTORE 19999743 BLOCKHASH 64 MSTORE 20000000 BLOCKHASH 96 MSTORE MAX BLOCKHASH 128 MSTORE 2^64 BLOCKHASH 160 MSTORE",
    ),
    (
        "BALANCE cold, warm",
        "0xa7 BALANCE 0 MSTORE 0xa7 BALANCE 32 MSTORE 0xaf BALANCE 64 MSTORE ADDRESS BALANCE 96 MSTORE",
    ),
    (
        "BALANCE ignores the upper bits",
        "2^200 0xa7 OR BALANCE 0 MSTORE",
    ),
    (
        "EXTCODESIZE",
        "0xa4 EXTCODESIZE 0 MSTORE 0xa4 EXTCODESIZE 32 MSTORE 0xaf EXTCODESIZE 64 MSTORE",
    ),
    (
        "EXTCODEHASH",
        "0xa4 EXTCODEHASH 0 MSTORE 0xa7 EXTCODEHASH 32 MSTORE 0xaf EXTCODEHASH 64 MSTORE",
    ),
    (
        "SLOAD cold, warm",
        "1 SLOAD 0 MSTORE 1 SLOAD 32 MSTORE MAX SLOAD 64 MSTORE 77 SLOAD 96 MSTORE",
    ),
    ("SSTORE sets", "5 0 SSTORE 6 0 SSTORE 0 0 SSTORE"),
    ("SSTORE clears", "0 1 SSTORE"),
    (
        "SSTORE clears and restores",
        "0 1 SSTORE 1 1 SSTORE 0 1 SSTORE 9 1 SSTORE",
    ),
    ("SSTORE the same", "1 1 SSTORE MAX 2 SSTORE"),
    (
        "SSTORE back to the original",
        "7 1 SSTORE 1 1 SSTORE 7 0 SSTORE 0 0 SSTORE",
    ),
    ("SSTORE warm after SLOAD", "2 SLOAD POP 9 2 SSTORE"),
    (
        "TSTORE and TLOAD",
        "9 1 TSTORE 1 TLOAD 0 MSTORE 2 TLOAD 32 MSTORE 0 1 TSTORE 1 TLOAD 64 MSTORE",
    ),
    ("TSTORE is not storage", "9 1 TSTORE 1 SLOAD 0 MSTORE"),
    (
        "LOG0 to LOG4",
        "MAX 0 MSTORE 4 3 2 1 32 0 LOG4 3 2 1 16 8 LOG3 2 1 0 0 LOG2 1 40 0 LOG1 8 100 LOG0",
    ),
    ("LOG of nothing from anywhere", "1 0 MAX LOG1"),
    ("LOG too long", "2^64 0 LOG0"),
    ("LOG from 2^64", "1 2^64 LOG0"),
    ("LOG 2^64 less 1", "2^64-1 0 LOG0"),
    ("SELFDESTRUCT to someone", "0xa7 SELFDESTRUCT"),
    ("SELFDESTRUCT to no account", "0xaf SELFDESTRUCT"),
    ("SELFDESTRUCT to itself", "ADDRESS SELFDESTRUCT"),
    (
        "SELFDESTRUCT of a warm account",
        "0xa7 BALANCE POP 0xa7 SELFDESTRUCT",
    ),
];
