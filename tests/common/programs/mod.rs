//! Hand-written programs, one for each edge of an opcode. Each is run on every fork, in a static
//! call, at both tiers and at every gas limit up to what it uses.
//!
//! Where nothing else is said, a program leaves what it computed in memory, which is compared.

mod calls;
mod environment;

pub use calls::CALLS;
pub use environment::ENVIRONMENT;

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
    (
        "JUMP behind code that nothing leads to and that pushes a target",
        "CALLVALUE @b JUMPI @b JUMP @w t: JUMP b: 7 @v @t JUMP w: 1 0 MSTORE STOP v: 2 0 MSTORE",
    ),
    (
        "JUMPI behind code that nothing leads to and that pushes a target",
        "CALLVALUE @b JUMPI @b JUMP @w t: JUMPI STOP b: 1 @v @t JUMP w: 1 0 MSTORE STOP v: 2 0 MSTORE",
    ),
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

/// All tables.
pub const ALL: &[(&str, &[Program])] = &[
    ("arithmetic", ARITHMETIC),
    ("memory", MEMORY),
    ("control", CONTROL),
    ("environment", ENVIRONMENT),
    ("calls", CALLS),
];
