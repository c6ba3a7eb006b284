//! Hand-written programs, one for each edge of an opcode. Each is run on every fork, in a static
//! call, at both tiers and at every gas limit up to what it uses.
//!
//! Where nothing else is said, a program leaves what it computed in memory, which is compared.

/// (name, assembler text); see [`super::asm`].
pub type Program = (&'static str, &'static str);

pub const ARITHMETIC: &[Program] = &[
    ("DIV by zero", "0 7 DIV 0 MSTORE"),
    ("SDIV by zero", "0 -7 SDIV 0 MSTORE"),
    ("MOD by zero", "0 7 MOD 0 MSTORE"),
    ("SMOD by zero", "0 -7 SMOD 0 MSTORE"),
    ("DIV by zero from calldata", "0 CALLDATALOAD 7 DIV 0 MSTORE"),
    (
        "SDIV by zero from calldata",
        "0 CALLDATALOAD -7 SDIV 0 MSTORE",
    ),
    ("MOD by zero from calldata", "0 CALLDATALOAD 7 MOD 0 MSTORE"),
    (
        "SMOD by zero from calldata",
        "0 CALLDATALOAD -7 SMOD 0 MSTORE",
    ),
    ("SDIV of the minimum by -1", "-1 MIN SDIV 0 MSTORE"),
    ("SMOD of the minimum by -1", "-1 MIN SMOD 0 MSTORE"),
    (
        "SDIV of the minimum by -1 at run time",
        "0 CALLDATALOAD NOT MIN SDIV 0 MSTORE",
    ),
    (
        "SMOD signs",
        "3 -8 SMOD 0 MSTORE -3 8 SMOD 32 MSTORE -3 -8 SMOD 64 MSTORE",
    ),
    (
        "SDIV signs",
        "3 -8 SDIV 0 MSTORE -3 8 SDIV 32 MSTORE -3 -8 SDIV 64 MSTORE",
    ),
    (
        "ADDMOD wide",
        "MAX MAX MAX ADDMOD 0 MSTORE 7 MAX MAX ADDMOD 32 MSTORE",
    ),
    (
        "ADDMOD by zero and one",
        "0 5 MAX ADDMOD 0 MSTORE 1 5 MAX ADDMOD 32 MSTORE",
    ),
    (
        "MULMOD wide",
        "MAX MAX MAX MULMOD 0 MSTORE 12 MAX MAX MULMOD 32 MSTORE",
    ),
    (
        "MULMOD by zero and one",
        "0 5 MAX MULMOD 0 MSTORE 1 5 MAX MULMOD 32 MSTORE",
    ),
    (
        "EXP",
        "0 0 EXP 0 MSTORE 0 2 EXP 32 MSTORE 256 2 EXP 64 MSTORE 255 2 EXP 96 MSTORE",
    ),
    (
        "EXP gas by exponent bytes",
        "MAX 3 EXP 0 MSTORE 255 3 EXP 32 MSTORE 256 3 EXP 64 MSTORE 65536 3 EXP 96 MSTORE",
    ),
    (
        "EXP gas, exponent from calldata",
        "32 CALLDATALOAD 3 EXP 0 MSTORE",
    ),
    (
        "SIGNEXTEND in range",
        "0xff 0 SIGNEXTEND 0 MSTORE 0x7f 0 SIGNEXTEND 32 MSTORE 0x8000 1 SIGNEXTEND 64 MSTORE MIN 31 SIGNEXTEND 96 MSTORE 2^247 30 SIGNEXTEND 128 MSTORE",
    ),
    (
        "SIGNEXTEND out of range",
        "0xff 32 SIGNEXTEND 0 MSTORE 0xff MAX SIGNEXTEND 32 MSTORE 0xff 2^64 SIGNEXTEND 64 MSTORE",
    ),
    (
        "BYTE",
        "MAX 31 BYTE 0 MSTORE 0x1234 30 BYTE 32 MSTORE 0x1234 0 BYTE 64 MSTORE",
    ),
    (
        "BYTE out of range",
        "MAX 32 BYTE 0 MSTORE MAX MAX BYTE 32 MSTORE MAX 2^64 BYTE 64 MSTORE",
    ),
    (
        "shifts by 255, 256, 257",
        "MAX 255 SHL 0 MSTORE MAX 256 SHL 32 MSTORE MAX 257 SHL 64 MSTORE MAX 255 SHR 96 MSTORE MAX 256 SHR 128 MSTORE MIN 255 SAR 160 MSTORE MIN 256 SAR 192 MSTORE MIN MAX SAR 224 MSTORE",
    ),
    (
        "shifts by 2^64 and more",
        "MAX 2^64 SHL 0 MSTORE MAX 2^64 SHR 32 MSTORE MIN 2^64 SAR 64 MSTORE 1 2^255 SAR 96 MSTORE MAX 2^32 SHR 128 MSTORE",
    ),
    (
        "shifts across limbs",
        "0x123456789abcdef0 63 SHL 0 MSTORE 0x123456789abcdef0 64 SHL 32 MSTORE 0x123456789abcdef0 65 SHL 64 MSTORE MAX 127 SHR 96 MSTORE MIN 128 SAR 128 MSTORE MAX 192 SHR 160 MSTORE",
    ),
    (
        "shift from calldata",
        "MIN 32 CALLDATALOAD SHR 0 MSTORE MIN 32 CALLDATALOAD SAR 32 MSTORE MAX 32 CALLDATALOAD SHL 64 MSTORE MAX 0 CALLDATALOAD NOT SHL 96 MSTORE",
    ),
    (
        "carry and borrow through all limbs",
        "1 MAX ADD 0 MSTORE 1 0 SUB 32 MSTORE 2^64-1 1 ADD 64 MSTORE 1 2^192 SUB 96 MSTORE 2^128-1 2^128-1 ADD 128 MSTORE",
    ),
    (
        "MUL",
        "MAX MAX MUL 0 MSTORE 2^128 2^128 MUL 32 MSTORE 2^127 2 MUL 64 MSTORE 2^64-1 2^64-1 MUL 96 MSTORE 2^192-1 2^65-1 MUL 128 MSTORE",
    ),
    (
        "comparisons",
        "1 MAX LT 0 MSTORE 1 MAX SLT 32 MSTORE MIN MAX SGT 64 MSTORE MIN MAX GT 96 MSTORE 2^64 2^64 EQ 128 MSTORE 0 ISZERO 160 MSTORE 2^200 ISZERO 192 MSTORE 5 5 LT 224 MSTORE",
    ),
    (
        "bitwise",
        "MAX MIN AND 0 MSTORE 1 MIN OR 32 MSTORE MAX MIN XOR 64 MSTORE 0 NOT 96 MSTORE",
    ),
    (
        "division, wide operands",
        "2^128 MAX DIV 0 MSTORE 2^64-1 MAX DIV 32 MSTORE MAX MAX DIV 64 MSTORE MAX 2^255 DIV 96 MSTORE 10 2^200 DIV 128 MSTORE 2^129-1 MAX MOD 160 MSTORE 10 2^200 MOD 192 MSTORE",
    ),
    (
        "a boolean used as a word",
        "1 2 LT 5 ADD 0 MSTORE 3 ISZERO NOT 32 MSTORE 7 7 EQ 255 SHL 64 MSTORE",
    ),
    (
        "long unbroken stretch",
        "0 CALLDATALOAD DUP1 MUL 3 ADD DUP1 MUL 5 XOR DUP1 7 SWAP1 DIV ADD DUP1 NOT SUB DUP1 11 SHR OR DUP1 13 SHL XOR 0 MSTORE",
    ),
];

pub const MEMORY: &[Program] = &[
    (
        "MSTORE and MLOAD, unaligned",
        "0x1122334455667788 5 MSTORE 3 MLOAD 64 MSTORE MSIZE 96 MSTORE",
    ),
    (
        "MSTORE8",
        "0x1ff 0 MSTORE8 0xabcd 31 MSTORE8 MAX 32 MSTORE8 MSIZE 64 MSTORE",
    ),
    ("MLOAD grows", "100 MLOAD POP MSIZE 0 MSTORE"),
    (
        "memory growth in steps",
        "1 0 MSTORE 1 32 MSTORE 1 1024 MSTORE 1 8000 MSTORE MSIZE 0 MSTORE",
    ),
    (
        "memory growth, quadratic part",
        "1 20000 MSTORE8 1 40000 MSTORE8",
    ),
    ("offset 2^16", "1 2^16 MSTORE"),
    ("offset 2^32", "1 2^32 MSTORE"),
    ("offset 2^63", "1 2^63 MSTORE"),
    ("offset 2^64 less 1", "1 2^64-1 MSTORE"),
    ("offset 2^64 less 32", "1 0xffffffffffffffe0 MSTORE"),
    ("offset 2^64 less 33", "1 0xffffffffffffffdf MSTORE"),
    ("offset 2^64", "1 2^64 MSTORE"),
    ("offset of the maximum", "1 MAX MSTORE"),
    ("MLOAD at 2^64 less 1", "2^64-1 MLOAD 0 MSTORE"),
    ("MLOAD at 2^64", "2^64 MLOAD 0 MSTORE"),
    ("MSTORE8 at 2^64 less 1", "1 2^64-1 MSTORE8"),
    ("MSTORE8 at 2^64", "1 2^64 MSTORE8"),
    (
        "MSTORE at a run-time offset",
        "9 32 CALLDATALOAD MSTORE 32 CALLDATALOAD MLOAD 0 MSTORE",
    ),
    (
        "KECCAK256",
        "0xabcdef 0 MSTORE 32 0 KECCAK256 32 MSTORE 7 3 KECCAK256 64 MSTORE",
    ),
    (
        "KECCAK256 of nothing",
        "0 MAX KECCAK256 0 MSTORE MSIZE 32 MSTORE",
    ),
    (
        "KECCAK256 grows",
        "100 50 KECCAK256 0 MSTORE MSIZE 32 MSTORE",
    ),
    ("KECCAK256 too long", "2^64-1 0 KECCAK256 0 MSTORE"),
    ("KECCAK256 length 2^64", "2^64 0 KECCAK256 0 MSTORE"),
    ("KECCAK256 offset 2^64", "1 2^64 KECCAK256 0 MSTORE"),
    (
        "CALLDATALOAD",
        "0 CALLDATALOAD 0 MSTORE 1 CALLDATALOAD 32 MSTORE 33 CALLDATALOAD 64 MSTORE",
    ),
    (
        "CALLDATALOAD past the end",
        "64 CALLDATALOAD 0 MSTORE 2^64-1 CALLDATALOAD 32 MSTORE 2^64 CALLDATALOAD 64 MSTORE MAX CALLDATALOAD 96 MSTORE",
    ),
    ("CALLDATACOPY", "100 0 3 CALLDATACOPY 7 60 200 CALLDATACOPY"),
    (
        "CALLDATACOPY past the end",
        "MAX 0 MSTORE 40 40 0 CALLDATACOPY 8 MAX 64 CALLDATACOPY 8 2^64 96 CALLDATACOPY",
    ),
    (
        "CALLDATACOPY of nothing",
        "0 MAX MAX CALLDATACOPY MSIZE 0 MSTORE",
    ),
    ("CALLDATACOPY too long", "2^64 0 0 CALLDATACOPY"),
    ("CALLDATACOPY 2^64 less 1", "2^64-1 0 0 CALLDATACOPY"),
    ("CALLDATACOPY to 2^64", "1 0 2^64 CALLDATACOPY"),
    (
        "CODECOPY",
        "CODESIZE 0 0 CODECOPY CODESIZE 64 MSTORE 64 5 100 CODECOPY",
    ),
    (
        "CODECOPY past the end",
        "MAX 0 MSTORE 16 MAX 8 CODECOPY 0 MAX MAX CODECOPY",
    ),
    (
        "EXTCODECOPY",
        "64 0 0 0xa4 EXTCODECOPY 64 10 64 0xa4 EXTCODECOPY 8 MAX 0 0xa1 EXTCODECOPY",
    ),
    (
        "EXTCODECOPY of nothing",
        "0 MAX MAX 0xa4 EXTCODECOPY MSIZE 0 MSTORE",
    ),
    (
        "EXTCODECOPY of no account",
        "MAX 0 MSTORE 8 0 0 0xaf EXTCODECOPY",
    ),
    ("EXTCODECOPY too long", "2^64 0 0 0xa4 EXTCODECOPY"),
    (
        "MCOPY forward overlap",
        "0x0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 0 MSTORE 32 0 5 MCOPY",
    ),
    (
        "MCOPY backward overlap",
        "0x0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 16 MSTORE 32 16 3 MCOPY",
    ),
    ("MCOPY onto itself", "MAX 0 MSTORE 32 0 0 MCOPY"),
    (
        "MCOPY grows by its source",
        "32 200 0 MCOPY MSIZE 32 MSTORE",
    ),
    (
        "MCOPY grows by its target",
        "32 0 200 MCOPY MSIZE 32 MSTORE",
    ),
    ("MCOPY of nothing", "0 MAX MAX MCOPY MSIZE 0 MSTORE"),
    ("MCOPY from 2^64", "1 2^64 0 MCOPY"),
    ("MCOPY to 2^64", "1 0 2^64 MCOPY"),
    ("MCOPY too long", "2^64 0 0 MCOPY"),
    (
        "RETURNDATACOPY without data",
        "RETURNDATASIZE 0 MSTORE 0 0 0 RETURNDATACOPY",
    ),
    (
        "RETURNDATACOPY without data, one byte",
        "1 0 0 RETURNDATACOPY",
    ),
    (
        "RETURNDATACOPY without data, offset one",
        "0 1 0 RETURNDATACOPY",
    ),
    (
        "RETURNDATACOPY exact",
        "MAX 0 MSTORE 0 0 32 0 0 0xa1 50000 STATICCALL POP 32 0 64 RETURNDATACOPY 31 1 100 RETURNDATACOPY",
    ),
    (
        "RETURNDATACOPY one too far",
        "0 0 32 0 0 0xa1 50000 STATICCALL POP 32 1 64 RETURNDATACOPY",
    ),
    (
        "RETURNDATACOPY offset of the maximum",
        "0 0 32 0 0 0xa1 50000 STATICCALL POP 1 MAX 64 RETURNDATACOPY",
    ),
    (
        "RETURNDATACOPY nothing at the end",
        "0 0 32 0 0 0xa1 50000 STATICCALL POP 0 32 MAX RETURNDATACOPY",
    ),
    (
        "RETURNDATACOPY sum beyond 2^64",
        "0 0 32 0 0 0xa1 50000 STATICCALL POP 2 2^64-1 0 RETURNDATACOPY",
    ),
    ("RETURN memory", "0xaabb 0 MSTORE 40 8 RETURN"),
    ("RETURN nothing from anywhere", "0 MAX RETURN"),
    ("RETURN grows", "64 100 RETURN"),
    ("RETURN too long", "2^64 0 RETURN"),
    ("RETURN from 2^64", "1 2^64 RETURN"),
    ("RETURN 2^64 less 1", "2^64-1 1 RETURN"),
    ("REVERT memory", "0xaabb 0 MSTORE 32 0 REVERT"),
    ("REVERT nothing", "0 MAX REVERT"),
    ("REVERT too long", "MAX 0 REVERT"),
    ("REVERT after a store", "5 1 SSTORE 0 0 LOG0 0 0 REVERT"),
];

pub const CONTROL: &[Program] = &[
    ("nothing", "STOP"),
    ("run off the end", "1 2 ADD"),
    ("INVALID", "1 INVALID"),
    ("JUMP", "@l JUMP INVALID l: 1 0 MSTORE"),
    ("JUMP into push data", "4 JUMP PUSH2 0x5b5b STOP"),
    ("JUMP into push data at the end", "3 JUMP hex:605b"),
    ("JUMP to no JUMPDEST", "0 JUMP"),
    ("JUMP past the end", "1000 JUMP"),
    ("JUMP to 2^64 and the right offset", "2^64 JUMP"),
    ("JUMP high bits set", "@l 2^128 OR JUMP l: 1 0 MSTORE"),
    ("JUMP to the maximum", "MAX JUMP"),
    (
        "JUMPI taken, not taken",
        "1 @a JUMPI INVALID a: 0 @b JUMPI 5 0 MSTORE STOP b: INVALID",
    ),
    (
        "JUMPI by a high bit",
        "2^255 @a JUMPI INVALID a: 3 0 MSTORE",
    ),
    ("JUMPI not taken to nowhere", "0 MAX JUMPI 5 0 MSTORE"),
    ("JUMPI taken to nowhere", "1 MAX JUMPI 5 0 MSTORE"),
    (
        "JUMPI not taken to a wrong constant",
        "0 0 JUMPI 5 0 MSTORE",
    ),
    (
        "JUMPI on calldata",
        "0 CALLDATALOAD @a JUMPI 1 0 MSTORE STOP a: 2 0 MSTORE",
    ),
    (
        "dynamic JUMP",
        "@l 0 CALLDATALOAD ADD JUMP INVALID l: 1 0 MSTORE",
    ),
    (
        "dynamic JUMP, wrong",
        "@l 32 CALLDATALOAD ADD JUMP INVALID l: 1 0 MSTORE",
    ),
    (
        "dynamic JUMPI",
        "1 @l 0 CALLDATALOAD ADD JUMPI INVALID l: 1 0 MSTORE",
    ),
    (
        "dynamic JUMPI, not taken, wrong",
        "0 32 CALLDATALOAD JUMPI 1 0 MSTORE",
    ),
    (
        "jump table",
        "@a @b @c 0 CALLDATALOAD ISZERO @x JUMPI x: JUMP a: INVALID b: INVALID c: 7 0 MSTORE",
    ),
    (
        "subroutine",
        "@r 5 @f JUMP r: 0 MSTORE STOP f: DUP1 MUL SWAP1 JUMP",
    ),
    (
        "subroutine called twice",
        "@r 5 @f JUMP r: @s 6 @f JUMP s: ADD 0 MSTORE STOP f: DUP1 MUL SWAP1 JUMP",
    ),
    (
        "loop",
        "10 l: DUP1 DUP1 MUL 0 MLOAD ADD 0 MSTORE 1 SWAP1 SUB DUP1 @l JUMPI",
    ),
    (
        "nested loops",
        "0 5 a: 4 b: DUP3 1 ADD SWAP3 POP 1 SWAP1 SUB DUP1 @b JUMPI POP 1 SWAP1 SUB DUP1 @a JUMPI POP 0 MSTORE",
    ),
    ("loop that grows the stack without end", "l: 1 @l JUMP"),
    (
        "loop that shrinks the stack without end",
        "1 2 3 4 l: POP @l JUMP",
    ),
    (
        "heights differ where paths meet",
        "7 8 0 CALLDATALOAD @a JUMPI 9 a: 0 MSTORE 32 MSTORE",
    ),
    (
        "a block reached with too few words",
        "0 CALLDATALOAD @a JUMPI 1 a: 1 ADD 0 MSTORE",
    ),
    (
        "values kept across blocks",
        "1 2 3 0 CALLDATALOAD @a JUMPI SWAP2 a: 0 MSTORE 32 MSTORE 64 MSTORE",
    ),
    ("JUMPDEST chain", "a: b: c: 1 0 MSTORE d:"),
    (
        "jump backwards to the start",
        "JUMPDEST 0 MLOAD 1 ADD DUP1 0 MSTORE 5 GT 0 JUMPI",
    ),
    (
        "PC",
        "PC PC PC 0 MSTORE 32 MSTORE 64 MSTORE PUSH8 1 PC 96 MSTORE",
    ),
    (
        "MSIZE",
        "MSIZE 0 MSTORE MSIZE 32 MSTORE 1 500 MSTORE8 MSIZE 64 MSTORE",
    ),
    (
        "GAS",
        "GAS 0 MSTORE GAS GAS SUB 32 MSTORE 1 2 3 ADD ADD POP GAS 64 MSTORE",
    ),
    ("GAS first and last", "GAS GAS 0 MSTORE GAS"),
    ("PUSH cut off by the end", "hex:7f0102"),
    ("PUSH1 cut off by the end", "hex:60"),
    ("PUSH2 with half its data", "1 hex:61ff"),
    ("PUSH0", "PUSH0 PUSH0 ADD 0 MSTORE"),
    (
        "PUSH of each width",
        "PUSH1 1 PUSH2 0x102 PUSH3 0x10203 PUSH4 0x1020304 PUSH5 0x102030405 PUSH8 0x102030405060708 PUSH9 0x10203040506070809 PUSH16 2^127 PUSH17 2^130 PUSH20 2^159 PUSH24 2^190 PUSH25 2^199 PUSH31 2^247 PUSH32 MAX ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD 0 MSTORE",
    ),
    ("dead code after STOP", "1 0 MSTORE STOP 0 0 DIV JUMP"),
    (
        "dead code with a JUMPDEST",
        "@l JUMP 0 0 RETURN hex:fe l: 1 0 MSTORE",
    ),
    ("unknown opcode", "1 hex:0c"),
    ("unknown opcode, not reached", "STOP hex:0c"),
    (
        "unknown opcode behind a branch",
        "0 CALLDATALOAD @a JUMPI 1 hex:0c a: hex:21",
    ),
    ("opcodes of EOF", "hex:e0"),
];

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

/// All tables.
pub const ALL: &[(&str, &[Program])] = &[
    ("arithmetic", ARITHMETIC),
    ("memory", MEMORY),
    ("control", CONTROL),
    ("environment", ENVIRONMENT),
    ("calls", CALLS),
];
