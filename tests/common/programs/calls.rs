//! Programs that call, create and end, and whose frames are suspended.

use super::Program;

pub const CALLS: &[Program] = &[
    (
        "CALL echo",
        "MAX 0 MSTORE 32 64 32 0 0 0xa1 50000 CALL 96 MSTORE RETURNDATASIZE 128 MSTORE",
    ),
    (
        "CALL, output longer than asked",
        "MAX 0 MSTORE 4 64 32 0 0 0xa1 50000 CALL 96 MSTORE",
    ),
    (
        "CALL, output shorter than asked",
        "MAX 0 MSTORE MAX 64 MSTORE 32 64 4 0 0 0xa1 50000 CALL 96 MSTORE",
    ),
    (
        "CALL reverting",
        "0xabcd 0 MSTORE 32 64 32 0 0 0xa2 50000 CALL 96 MSTORE RETURNDATASIZE 128 MSTORE",
    ),
    (
        "CALL halting",
        "32 64 32 0 0 0xa3 50000 CALL 96 MSTORE RETURNDATASIZE 128 MSTORE",
    ),
    (
        "CALL that stores",
        "9 0 MSTORE 8 32 MSTORE 32 64 64 0 0 0xa4 50000 CALL 96 MSTORE",
    ),
    ("CALL to no code", "0 0 0 0 0 0xa7 50000 CALL 0 MSTORE"),
    ("CALL to no account", "0 0 0 0 0 0xaf 50000 CALL 0 MSTORE"),
    (
        "CALL with value",
        "0 0 0 0 5 0xa7 0 CALL 0 MSTORE 0xa7 BALANCE 32 MSTORE",
    ),
    (
        "CALL with value to no account",
        "0 0 0 0 5 0xaf 0 CALL 0 MSTORE",
    ),
    (
        "CALL with value and code",
        "224 0 0 0 5 0xa8 50000 CALL 224 MSTORE",
    ),
    (
        "CALL with more value than there is",
        "0 0 0 0 2^80 0xa7 50000 CALL 0 MSTORE RETURNDATASIZE 32 MSTORE",
    ),
    (
        "CALL with all gas",
        "32 64 32 0 0 0xa3 GAS CALL 96 MSTORE GAS 128 MSTORE",
    ),
    (
        "CALL with too much gas",
        "32 64 32 0 0 0xa1 MAX CALL 96 MSTORE",
    ),
    (
        "CALL with gas 2^64",
        "32 64 32 0 0 0xa1 2^64 CALL 96 MSTORE",
    ),
    (
        "CALL to a dirty address",
        "0 0 0 0 0 2^200 0xa1 OR 50000 CALL 0 MSTORE",
    ),
    (
        "CALL, input grows memory",
        "0 0 32 1000 0 0xa1 50000 CALL 0 MSTORE MSIZE 32 MSTORE",
    ),
    (
        "CALL, output grows memory",
        "32 1000 0 0 0 0xa1 50000 CALL 0 MSTORE MSIZE 32 MSTORE",
    ),
    (
        "CALL, empty ranges anywhere",
        "0 MAX 0 MAX 0 0xa1 50000 CALL 0 MSTORE MSIZE 32 MSTORE",
    ),
    (
        "CALL, input offset 2^64",
        "0 0 1 2^64 0 0xa1 50000 CALL 0 MSTORE",
    ),
    (
        "CALL, input length 2^64",
        "0 0 2^64 0 0 0xa1 50000 CALL 0 MSTORE",
    ),
    (
        "CALL, output offset 2^64",
        "1 2^64 0 0 0 0xa1 50000 CALL 0 MSTORE",
    ),
    (
        "CALL, output length 2^64 less 1",
        "2^64-1 0 0 0 0 0xa1 50000 CALL 0 MSTORE",
    ),
    (
        "CALL to itself",
        "CALLVALUE @end JUMPI 0 0 0 0 1 ADDRESS 40000 CALL 0 MSTORE end: MSIZE 32 MSTORE",
    ),
    (
        "CALL with deep recursion",
        "32 0 CALLDATASIZE 0 0 ADDRESS GAS CALL 0 MSTORE",
    ),
    (
        "CALL back",
        "0 0 0 0 0 CALLER 0xa5 EQ @end JUMPI 0 0 0 0 0 0xa5 60000 CALL 0 MSTORE RETURNDATASIZE 32 MSTORE STOP end: 42 0 MSTORE 32 0 RETURN",
    ),
    (
        "CALL that counts down",
        "5 0 MSTORE 32 32 32 0 0 0xa9 200000 CALL POP",
    ),
    (
        "CALL of the identity precompile",
        "0xbeef 0 MSTORE 32 32 32 0 0 4 1000 CALL 64 MSTORE",
    ),
    (
        "CALL of the identity precompile, too little gas",
        "0xbeef 0 MSTORE 32 32 32 0 0 4 10 CALL 64 MSTORE",
    ),
    (
        "CALL destroys the callee",
        "0 0 0 0 0 0xa6 50000 CALL 0 MSTORE 0 0 0 0 0 0xa6 50000 CALL 32 MSTORE",
    ),
    (
        "CALLCODE",
        "9 0 MSTORE 8 32 MSTORE 32 64 64 0 0 0xa4 50000 CALLCODE 96 MSTORE 9 SLOAD 128 MSTORE",
    ),
    (
        "CALLCODE with value",
        "224 0 0 0 5 0xa8 50000 CALLCODE 224 MSTORE",
    ),
    (
        "CALLCODE with more value than there is",
        "0 0 0 0 2^80 0xa8 50000 CALLCODE 224 MSTORE",
    ),
    (
        "DELEGATECALL",
        "9 0 MSTORE 8 32 MSTORE 32 64 64 0 0xa4 50000 DELEGATECALL 96 MSTORE 9 SLOAD 128 MSTORE",
    ),
    (
        "DELEGATECALL sees the caller",
        "224 0 0 0 0xa8 50000 DELEGATECALL 224 MSTORE",
    ),
    (
        "DELEGATECALL destroys the caller",
        "0 0 0 0 0xa6 50000 DELEGATECALL 0 MSTORE",
    ),
    (
        "STATICCALL",
        "MAX 0 MSTORE 32 64 32 0 0xa1 50000 STATICCALL 96 MSTORE",
    ),
    (
        "STATICCALL that stores",
        "9 0 MSTORE 8 32 MSTORE 32 64 64 0 0xa4 50000 STATICCALL 96 MSTORE RETURNDATASIZE 128 MSTORE",
    ),
    (
        "STATICCALL of a nested call with value",
        "0 0 0 0 0xaa 90000 STATICCALL 0 MSTORE",
    ),
    (
        "RETURNDATA after each kind",
        "MAX 0 MSTORE 0 0 32 0 0 0xa1 50000 CALL RETURNDATASIZE 32 MSTORE 0 0 8 0 0xa2 50000 DELEGATECALL RETURNDATASIZE 64 MSTORE 0 0 0 0 0xa7 50000 STATICCALL RETURNDATASIZE 96 MSTORE",
    ),
    (
        "many calls in one block",
        "0 0 0 0 0 0xa1 9000 CALL 0 0 0 0 0 0xa2 9000 CALL 0 0 0 0 0 0xa3 9000 CALL ADD ADD 0 MSTORE",
    ),
    (
        "call in a loop",
        "5 l: DUP1 0 MSTORE 32 32 32 0 0 0xa1 9000 CALL POP 1 SWAP1 SUB DUP1 @l JUMPI",
    ),
    (
        "stack kept across a call",
        "11 22 33 0 0 0 0 0 0xa1 9000 CALL 0 MSTORE 32 MSTORE 64 MSTORE 96 MSTORE",
    ),
    (
        "call in a subroutine",
        "@r 7 @f JUMP r: 0 MSTORE STOP f: 0 0 0 0 0 0xa1 9000 CALL ADD SWAP1 JUMP",
    ),
    ("call last", "0 0 0 0 0 0xa1 9000 CALL"),
    (
        "call with the stack nearly full and result unused",
        "0 0 0 0 0 0xa1 9000 CALL 0 0 0 0 0 0xa1 9000 CALL POP POP",
    ),
    // Init code 0x60016000f3... returns one byte of memory: PUSH1 1 PUSH1 0 RETURN.
    (
        "CREATE",
        "0x60016000f3 216 SHL 0 MSTORE 5 0 0 CREATE DUP1 0 MSTORE EXTCODESIZE 32 MSTORE RETURNDATASIZE 64 MSTORE",
    ),
    (
        "CREATE with value",
        "0x60016000f3 0 MSTORE 5 27 7 CREATE DUP1 0 MSTORE BALANCE 32 MSTORE",
    ),
    (
        "CREATE with more value than there is",
        "0x60016000f3 0 MSTORE 5 27 2^80 CREATE 0 MSTORE RETURNDATASIZE 32 MSTORE",
    ),
    (
        "CREATE of nothing",
        "0 MAX 0 CREATE 0 MSTORE MSIZE 32 MSTORE",
    ),
    (
        "CREATE twice",
        "0x60016000f3 0 MSTORE 5 27 0 CREATE 5 27 0 CREATE 0 MSTORE 32 MSTORE",
    ),
    (
        "CREATE reverting",
        "0x60016000fd 0 MSTORE 5 27 0 CREATE 0 MSTORE RETURNDATASIZE 32 MSTORE",
    ),
    (
        "CREATE halting",
        "0xfe 0 MSTORE 1 31 0 CREATE 0 MSTORE RETURNDATASIZE 32 MSTORE",
    ),
    (
        "CREATE deploying 0xef",
        "0x60ef60005360016000f3 0 MSTORE 10 22 0 CREATE 0 MSTORE",
    ),
    (
        "CREATE that destroys itself",
        "0x30ff 0 MSTORE 2 30 3 CREATE DUP1 0 MSTORE BALANCE 32 MSTORE",
    ),
    ("CREATE, code too long", "2^64 0 0 CREATE 0 MSTORE"),
    (
        "CREATE, init code at the limit of EIP-3860",
        "49152 0 0 CREATE 0 MSTORE",
    ),
    (
        "CREATE, init code over the limit of EIP-3860",
        "49153 0 0 CREATE 0 MSTORE",
    ),
    ("CREATE, offset 2^64", "1 2^64 0 CREATE 0 MSTORE"),
    (
        "CREATE2",
        "0x60016000f3 0 MSTORE 99 5 27 0 CREATE2 DUP1 0 MSTORE EXTCODESIZE 32 MSTORE",
    ),
    (
        "CREATE2 collides",
        "0x60016000f3 0 MSTORE 99 5 27 0 CREATE2 99 5 27 0 CREATE2 0 MSTORE 32 MSTORE",
    ),
    (
        "CREATE2 reverting",
        "0x60016000fd 0 MSTORE 99 5 27 0 CREATE2 0 MSTORE RETURNDATASIZE 32 MSTORE",
    ),
    ("CREATE2 of nothing", "5 0 MAX 0 CREATE2 0 MSTORE"),
    ("CREATE2, code too long", "5 2^64 0 0 CREATE2 0 MSTORE"),
    ("CREATE2, offset 2^64", "5 1 2^64 0 CREATE2 0 MSTORE"),
    (
        "CREATE through another",
        "0x60016000f3 0 MSTORE 32 32 5 27 0 0xaa 200000 CALL 64 MSTORE",
    ),
    (
        "CREATE, then call what was created",
        "0x6042600052600a6016f3 0 MSTORE 10 22 0 CREATE 0 0 0 0 0 DUP6 50000 CALL 0 MSTORE",
    ),
    (
        "storage across a call to itself",
        "CALLDATASIZE @first JUMPI 5 7 SSTORE STOP first: 7 SLOAD 0 MSTORE 0 0 0 0 0 ADDRESS 50000 CALL 32 MSTORE 7 SLOAD 64 MSTORE",
    ),
    (
        "transient storage reverted with the callee",
        "CALLDATASIZE @first JUMPI 5 7 TSTORE 0 0 REVERT first: 6 7 TSTORE 0 0 0 0 0 ADDRESS 50000 CALL POP 7 TLOAD 64 MSTORE",
    ),
];
