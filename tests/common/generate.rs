//! Random programs with the shapes that real ones have: straight-line arithmetic on a deep stack,
//! branches, bounded loops, subroutines that return by a dynamic jump, memory, storage, calls and
//! creates; and, now and then, each of these broken.
//!
//! The generator tracks a lower bound of the stack height so that most programs run to their end.

use super::asm::{Item, asm, assemble};
use super::case::{CONTRACT, Case, FORKS};
use super::rng::Rng;
use super::types::{Bytes, NEWEST, RECENT, SpecId, U256, opcode as op};

/// A generated program, still in the form that the shrinker takes apart.
#[derive(Clone, Debug)]
pub struct Program {
    pub items: Vec<Item>,
    /// The case without its code.
    pub frame: Case,
}

impl Program {
    pub fn case(&self) -> Case {
        let mut case = self.frame.clone();
        case.code = assemble(&self.items).into();
        case
    }
}

/// The program of this seed.
pub fn program(seed: u64) -> Program {
    let mut rng = Rng::new(seed);
    let spec_id = if rng.chance(55) {
        NEWEST
    } else {
        *rng.pick(&FORKS)
    };
    let mut frame = Case::new(Bytes::new()).on(spec_id);
    frame.gas_limit = match rng.below(10) {
        0 => rng.below(3_000) as u64,
        1 => rng.below(60_000) as u64,
        _ if spec_id == NEWEST && rng.chance(5) => 5_000_000,
        _ => 300_000 + rng.below(300_000) as u64,
    };
    frame.input = calldata(&mut rng).into();
    frame.value = U256::from(rng.below(3));
    frame.is_static = rng.chance(4);
    if frame.is_static {
        frame.value = U256::ZERO;
    }
    let wild = rng.chance(15);
    let mut writer = Writer {
        rng,
        spec_id,
        wild,
        items: Vec::new(),
        height: 0,
        labels: 0,
        floor: 0,
        loops: 0,
        subroutines: Vec::new(),
    };
    writer.program();
    let Writer {
        mut rng, mut items, ..
    } = writer;
    if rng.chance(25) {
        damage(&mut rng, &mut items);
    }
    Program { items, frame }
}

/// Takes items away: the program's beginning, or a few anywhere. What is left finds other stacks
/// than it was written for, often too short ones.
fn damage(rng: &mut Rng, items: &mut Vec<Item>) {
    if rng.chance(50) {
        items.drain(..rng.below(items.len()));
    }
    for _ in 0..rng.below(4).min(items.len() - 1) {
        items.remove(rng.below(items.len()));
    }
}

fn calldata(rng: &mut Rng) -> Vec<u8> {
    let mut data = Vec::new();
    for _ in 0..rng.below(5) {
        data.extend_from_slice(&rng.word().to_be_bytes::<32>());
    }
    let extra = rng.below(32);
    data.extend(rng.bytes(extra));
    data
}

/// A subroutine that was called and must be written: takes `args` words under the return label,
/// leaves `results`.
#[derive(Clone, Copy)]
struct Subroutine {
    label: u32,
    args: usize,
    results: usize,
}

/// Opcodes that only compute: (opcode, operands, first fork).
const PURE: [(u8, usize, SpecId); 26] = [
    (op::ADD, 2, SpecId::FRONTIER),
    (op::MUL, 2, SpecId::FRONTIER),
    (op::SUB, 2, SpecId::FRONTIER),
    (op::DIV, 2, SpecId::FRONTIER),
    (op::SDIV, 2, SpecId::FRONTIER),
    (op::MOD, 2, SpecId::FRONTIER),
    (op::SMOD, 2, SpecId::FRONTIER),
    (op::ADDMOD, 3, SpecId::FRONTIER),
    (op::MULMOD, 3, SpecId::FRONTIER),
    (op::EXP, 2, SpecId::FRONTIER),
    (op::SIGNEXTEND, 2, SpecId::FRONTIER),
    (op::LT, 2, SpecId::FRONTIER),
    (op::GT, 2, SpecId::FRONTIER),
    (op::SLT, 2, SpecId::FRONTIER),
    (op::SGT, 2, SpecId::FRONTIER),
    (op::EQ, 2, SpecId::FRONTIER),
    (op::ISZERO, 1, SpecId::FRONTIER),
    (op::AND, 2, SpecId::FRONTIER),
    (op::OR, 2, SpecId::FRONTIER),
    (op::XOR, 2, SpecId::FRONTIER),
    (op::NOT, 1, SpecId::FRONTIER),
    (op::BYTE, 2, SpecId::FRONTIER),
    (op::SHL, 2, SpecId::PETERSBURG),
    (op::SHR, 2, SpecId::PETERSBURG),
    (op::SAR, 2, SpecId::PETERSBURG),
    (op::BLOBHASH, 1, SpecId::CANCUN),
];

/// Opcodes that push what they know.
const NULLARY: [(u8, SpecId); 21] = [
    (op::ADDRESS, SpecId::FRONTIER),
    (op::ORIGIN, SpecId::FRONTIER),
    (op::CALLER, SpecId::FRONTIER),
    (op::CALLVALUE, SpecId::FRONTIER),
    (op::CALLDATASIZE, SpecId::FRONTIER),
    (op::CODESIZE, SpecId::FRONTIER),
    (op::GASPRICE, SpecId::FRONTIER),
    (op::RETURNDATASIZE, SpecId::BYZANTIUM),
    (op::COINBASE, SpecId::FRONTIER),
    (op::TIMESTAMP, SpecId::FRONTIER),
    (op::NUMBER, SpecId::FRONTIER),
    (op::DIFFICULTY, SpecId::FRONTIER),
    (op::GASLIMIT, SpecId::FRONTIER),
    (op::CHAINID, SpecId::ISTANBUL),
    (op::SELFBALANCE, SpecId::ISTANBUL),
    (op::BASEFEE, SpecId::LONDON),
    (op::BLOBBASEFEE, SpecId::CANCUN),
    (op::PC, SpecId::FRONTIER),
    (op::MSIZE, SpecId::FRONTIER),
    (op::GAS, SpecId::FRONTIER),
    (op::PUSH0, SpecId::SHANGHAI),
];

struct Writer {
    rng: Rng,
    spec_id: SpecId,
    /// Whether now and then an operand may be missing.
    wild: bool,
    items: Vec<Item>,
    /// A lower bound of the stack height where the next item will stand.
    height: usize,
    labels: u32,
    /// Words at the bottom of the stack that must stay: counters of the loops around the place.
    floor: usize,
    /// How many loops surround the place.
    loops: usize,
    subroutines: Vec<Subroutine>,
}

impl Writer {
    fn program(&mut self) {
        for _ in 0..self.rng.below(6) {
            self.push_word();
        }
        let statements = 2 + self.rng.below(14);
        self.statements(statements, 0);
        self.epilogue();
        let mut written = 0;
        while written < self.subroutines.len() {
            self.subroutine(self.subroutines[written]);
            written += 1;
        }
        if self.rng.chance(5) {
            // A push that the end of the code cuts off.
            let width = 1 + self.rng.below(32);
            let have = self.rng.below(width);
            let mut raw = vec![op::PUSH0 + width as u8];
            raw.extend(self.rng.bytes(have));
            self.items.push(Item::Raw(raw));
        }
    }

    fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels
    }

    fn op(&mut self, opcode: u8, inputs: usize, outputs: usize) {
        self.items.push(Item::Op(opcode));
        self.height = self.height.saturating_sub(inputs) + outputs;
    }

    fn push(&mut self, value: U256) {
        let least = value.byte_len().max(1);
        let width = if self.rng.chance(80) {
            least
        } else {
            least + self.rng.below(33 - least)
        };
        self.items.push(Item::Push(width as u8, value));
        self.height += 1;
    }

    fn push_number(&mut self, value: usize) {
        self.push(U256::from(value));
    }

    fn push_label(&mut self, label: u32) {
        self.items.push(Item::PushLabel(label));
        self.height += 1;
    }

    fn place(&mut self, label: u32) {
        self.items.push(Item::Label(label));
    }

    fn push_word(&mut self) {
        let word = self.rng.word();
        self.push(word);
    }

    /// Pushes some word: a constant, calldata, or a copy of what is on the stack.
    fn operand(&mut self) {
        match self.rng.below(10) {
            0..=3 => self.push_word(),
            4..=5 => self.calldata_word(),
            6 => {
                let available = *self.rng.pick(&NULLARY);
                if self.spec_id.is_enabled_in(available.1) {
                    self.op(available.0, 0, 1);
                } else {
                    self.push_word();
                }
            }
            _ => self.dup(),
        }
    }

    fn calldata_word(&mut self) {
        let offset = self.rng.below(6) * 32 + self.rng.below(4) / 3;
        self.push_number(offset);
        self.op(op::CALLDATALOAD, 1, 1);
    }

    fn dup(&mut self) {
        if self.height == 0 {
            return self.push_word();
        }
        let depth = 1 + self.rng.below(self.height.min(16));
        self.op(op::DUP1 + depth as u8 - 1, 0, 1);
    }

    /// Makes sure that there are `count` operands, unless this program is a wild one.
    fn need(&mut self, count: usize) {
        if self.wild && self.rng.chance(3) {
            return;
        }
        while self.free() < count {
            self.operand();
        }
    }

    /// How many words on the stack may be consumed.
    fn free(&self) -> usize {
        self.height.saturating_sub(self.floor)
    }

    /// An offset or length for memory: nearly always small, constant or masked.
    fn offset(&mut self) {
        if self.rng.chance(70) {
            let offset = self.rng.offset();
            self.push(offset);
        } else {
            self.operand();
            let mask = *self.rng.pick(&[0x1ff, 0xff, 0x3e0, 31]);
            self.push_number(mask);
            self.op(op::AND, 2, 1);
        }
    }

    fn statements(&mut self, count: usize, nesting: usize) {
        for _ in 0..count {
            self.statement(nesting);
            while self.height > 900 {
                self.op(op::POP, 1, 0);
            }
        }
    }

    fn statement(&mut self, nesting: usize) {
        let kind = self.rng.below(100);
        // A loop full of calls and stores would only ever show that gas runs out.
        if (53..=73).contains(&kind) && self.rng.chance(45 * self.loops) {
            return self.arithmetic();
        }
        match kind {
            0..=37 => self.arithmetic(),
            38..=52 => self.memory(),
            53..=60 => self.storage(),
            61..=63 => self.account(),
            64..=65 => self.log(),
            66..=71 => self.call(),
            72..=73 => self.create(),
            74..=81 if nesting < 4 => self.branch(nesting),
            82..=86 if self.loops < 2 => self.bounded_loop(nesting),
            87..=90 if nesting < 3 => self.call_subroutine(),
            91..=93 => self.computed_jump(),
            94..=95 => self.early_end(),
            96 => self.jump_nowhere(),
            97 if self.wild => {
                let len = 1 + self.rng.below(4);
                let junk = self.rng.bytes(len);
                self.items.push(Item::Raw(junk));
                self.height = 0;
            }
            _ => self.shuffle(),
        }
    }

    fn arithmetic(&mut self) {
        for _ in 0..1 + self.rng.below(6) {
            let (opcode, inputs, since) = *self.rng.pick(&PURE);
            if !self.spec_id.is_enabled_in(since) && !self.rng.chance(2) {
                continue;
            }
            // Shapes that a code generator treats apart: fresh constants on either side.
            match self.rng.below(4) {
                0 => {
                    self.need(inputs.saturating_sub(1));
                    self.push_word();
                }
                1 => {
                    self.push_word();
                    self.need(inputs.saturating_sub(1));
                    self.operand();
                }
                _ => self.need(inputs),
            }
            self.need(inputs);
            self.op(opcode, inputs, 1);
        }
    }

    /// An instruction of [`RECENT`].
    fn recent(&mut self) {
        if RECENT.is_empty() {
            return;
        }
        let (opcode, inputs, outputs, since, immediate) = *self.rng.pick(RECENT);
        if !self.spec_id.is_enabled_in(since) && !self.rng.chance(2) {
            return;
        }
        self.need(inputs);
        if immediate {
            // Deep enough for most immediates; others underflow.
            while self.height < 20 {
                self.operand();
            }
            let immediate = match self.rng.below(4) {
                0 => self.rng.next_u64() as u8,
                // DUPN and SWAPN of 17 to 20, EXCHANGE of near words.
                1 => 128 + self.rng.below(4) as u8,
                _ => 0x80 | self.rng.below(16) as u8,
            };
            self.items.push(Item::Raw(vec![opcode, immediate]));
            self.height += outputs;
        } else {
            self.op(opcode, inputs, outputs);
        }
    }

    fn shuffle(&mut self) {
        for _ in 0..1 + self.rng.below(5) {
            match self.rng.below(5) {
                4 => self.recent(),
                0 => self.dup(),
                1 => {
                    self.need(1);
                    self.op(op::POP, 1, 0);
                }
                _ => {
                    self.need(2);
                    let deepest = self.free().saturating_sub(1).clamp(1, 16);
                    let depth = 1 + self.rng.below(deepest);
                    self.op(op::SWAP1 + depth as u8 - 1, 0, 0);
                }
            }
        }
    }

    fn memory(&mut self) {
        match self.rng.below(12) {
            0..=2 => {
                self.operand();
                self.offset();
                self.op(op::MSTORE, 2, 0);
            }
            3..=5 => {
                self.offset();
                self.op(op::MLOAD, 1, 1);
            }
            6 => {
                self.operand();
                self.offset();
                self.op(op::MSTORE8, 2, 0);
            }
            7 => {
                self.offset();
                self.offset();
                self.op(op::KECCAK256, 2, 1);
            }
            8 if self.spec_id.is_enabled_in(SpecId::CANCUN) => self.copy(op::MCOPY),
            9 => self.copy(op::CALLDATACOPY),
            10 => self.copy(op::CODECOPY),
            11 if self.spec_id.is_enabled_in(SpecId::BYZANTIUM) => {
                // Out of bounds halts, so mostly copy what there is.
                if self.rng.chance(80) {
                    self.op(op::RETURNDATASIZE, 0, 1);
                    self.push_number(0);
                    self.offset();
                    self.op(op::RETURNDATACOPY, 3, 0);
                } else {
                    self.copy(op::RETURNDATACOPY);
                }
            }
            _ => self.op(op::MSIZE, 0, 1),
        }
    }

    fn copy(&mut self, opcode: u8) {
        self.offset();
        self.offset();
        self.offset();
        self.op(opcode, 3, 0);
    }

    fn key(&mut self) {
        if self.rng.chance(80) {
            let key = *self.rng.pick(&[0, 1, 2, 3, 32]);
            self.push_number(key);
        } else {
            self.operand();
        }
    }

    fn storage(&mut self) {
        let transient = self.spec_id.is_enabled_in(SpecId::CANCUN) && self.rng.chance(30);
        let (load, store) = if transient {
            (op::TLOAD, op::TSTORE)
        } else {
            (op::SLOAD, op::SSTORE)
        };
        if self.rng.chance(55) {
            self.key();
            self.op(load, 1, 1);
        } else {
            self.operand();
            self.key();
            self.op(store, 2, 0);
        }
    }

    fn address(&mut self) {
        match self.rng.below(12) {
            0 => self.op(op::ADDRESS, 0, 1),
            1 => self.op(op::CALLER, 0, 1),
            2 => self.push(CONTRACT.into_word().into()),
            3 => self.operand(),
            4 => self.push_number(4),
            5 => self.push_number(0xaf),
            _ => {
                let low = 0xa1 + self.rng.below(10);
                self.push_number(low);
            }
        }
    }

    fn account(&mut self) {
        match self.rng.below(5) {
            0 => {
                self.address();
                self.op(op::BALANCE, 1, 1);
            }
            1 => {
                self.address();
                self.op(op::EXTCODESIZE, 1, 1);
            }
            2 if self.spec_id.is_enabled_in(SpecId::PETERSBURG) => {
                self.address();
                self.op(op::EXTCODEHASH, 1, 1);
            }
            3 => {
                self.offset();
                self.offset();
                self.offset();
                self.address();
                self.op(op::EXTCODECOPY, 4, 0);
            }
            _ => {
                let back = self.rng.below(300);
                self.push_number(20_000_000 - back);
                self.op(op::BLOCKHASH, 1, 1);
            }
        }
    }

    fn log(&mut self) {
        let topics = self.rng.below(5);
        for _ in 0..topics {
            self.operand();
        }
        self.offset();
        self.offset();
        self.op(op::LOG0 + topics as u8, 2 + topics, 0);
    }

    fn call(&mut self) {
        let (opcode, with_value, since) = *self.rng.pick(&[
            (op::CALL, true, SpecId::FRONTIER),
            (op::CALL, true, SpecId::FRONTIER),
            (op::CALLCODE, true, SpecId::FRONTIER),
            (op::DELEGATECALL, false, SpecId::HOMESTEAD),
            (op::STATICCALL, false, SpecId::BYZANTIUM),
        ]);
        if !self.spec_id.is_enabled_in(since) {
            return;
        }
        for _ in 0..4 {
            self.offset();
        }
        if with_value {
            let value = *self.rng.pick(&[0, 0, 0, 1, 100, 2_000_000]);
            self.push_number(value);
        }
        self.address();
        match self.rng.below(4) {
            0 => self.op(op::GAS, 0, 1),
            1 => self.operand(),
            // From Tangerine Whistle on more than there is means all but one 64th (EIP-150).
            _ => {
                let gas = self.rng.below(40_000);
                self.push_number(gas);
            }
        }
        self.op(opcode, if with_value { 7 } else { 6 }, 1);
    }

    fn create(&mut self) {
        let init = *self.rng.pick(&[
            // Deploys 32 bytes of zeros, one byte of STOP, nothing, 0xef; reverts; halts; asks.
            "32 0 RETURN",
            "1 0 RETURN",
            "STOP",
            "0xef 0 MSTORE8 1 0 RETURN",
            "1 2 ADD 0 MSTORE 32 0 REVERT",
            "INVALID",
            "CALLER BALANCE 5 SSTORE 0 0 0 0 0 0xa4 50000 CALL 3 SSTORE CALLVALUE 0 MSTORE8 1 0 RETURN",
            "ADDRESS SELFDESTRUCT",
        ]);
        let mut code = asm(init);
        let len = code.len().min(32);
        code.resize(32, 0);
        let word = U256::from_be_slice(&code[..32]);
        if self.rng.chance(75) {
            self.items.push(Item::Push(32, word));
            self.height += 1;
            self.push_number(0);
            self.op(op::MSTORE, 2, 0);
        }
        let second = self.spec_id.is_enabled_in(SpecId::PETERSBURG) && self.rng.chance(50);
        if second {
            let salt = self.rng.below(2);
            self.push_number(salt);
        }
        if self.rng.chance(80) {
            self.push_number(len);
            self.push_number(0);
        } else {
            self.offset();
            self.offset();
        }
        let value = *self.rng.pick(&[0, 0, 1, 5_000_000]);
        self.push_number(value);
        if second {
            self.op(op::CREATE2, 4, 1);
        } else {
            self.op(op::CREATE, 3, 1);
        }
    }

    fn condition(&mut self) {
        self.operand();
        match self.rng.below(4) {
            0 => self.op(op::ISZERO, 1, 1),
            1 => {
                self.operand();
                let compare = *self.rng.pick(&[op::LT, op::GT, op::SLT, op::SGT, op::EQ]);
                self.op(compare, 2, 1);
            }
            2 => {
                self.push_number(1);
                self.op(op::AND, 2, 1);
            }
            _ => {}
        }
    }

    /// `if` with or without `else`; the arms usually leave the same height, not always.
    fn branch(&mut self, nesting: usize) {
        let (other, end) = (self.label(), self.label());
        self.condition();
        self.push_label(other);
        self.op(op::JUMPI, 2, 0);
        let before = self.height;
        let count = self.rng.below(4);
        self.statements(count, nesting + 1);
        if self.rng.chance(50) {
            self.level(before);
            self.place(other);
            self.height = self.height.min(before);
            return;
        }
        if self.rng.chance(85) {
            self.level(before);
        }
        let after_first = self.height;
        self.push_label(end);
        self.op(op::JUMP, 1, 0);
        self.place(other);
        self.height = before;
        let count = self.rng.below(4);
        self.statements(count, nesting + 1);
        if self.rng.chance(85) {
            self.level(before);
        }
        self.place(end);
        self.height = self.height.min(after_first);
    }

    /// Pushes or pops until the height is `target`.
    fn level(&mut self, target: usize) {
        while self.height > target {
            self.op(op::POP, 1, 0);
        }
        while self.height < target {
            self.operand();
        }
    }

    fn bounded_loop(&mut self, nesting: usize) {
        let top = self.label();
        let rounds = 1 + self.rng.below(9);
        self.push_number(rounds);
        let at_top = self.height;
        self.place(top);
        self.loops += 1;
        let outer_floor = std::mem::replace(&mut self.floor, at_top);
        let count = 1 + self.rng.below(4);
        self.statements(count, nesting + 1);
        self.floor = outer_floor;
        self.loops -= 1;
        self.level(at_top);
        self.push_number(1);
        self.op(op::SWAP1, 0, 0);
        self.op(op::SUB, 2, 1);
        self.op(op::DUP1, 0, 1);
        self.push_label(top);
        self.op(op::JUMPI, 2, 0);
        if self.rng.chance(90) {
            self.op(op::POP, 1, 0);
        }
    }

    fn call_subroutine(&mut self) {
        let known = self.subroutines.len();
        let routine = if known > 0 && self.rng.chance(60) {
            self.subroutines[self.rng.below(known)]
        } else if known < 4 {
            let routine = Subroutine {
                label: self.label(),
                args: self.rng.below(3),
                results: self.rng.below(3),
            };
            self.subroutines.push(routine);
            routine
        } else {
            return;
        };
        let back = self.label();
        self.push_label(back);
        for _ in 0..routine.args {
            self.operand();
        }
        self.push_label(routine.label);
        self.op(op::JUMP, 1 + routine.args + 1, routine.results);
        self.place(back);
    }

    /// Stack at entry: .. back args; at exit: .. results.
    fn subroutine(&mut self, routine: Subroutine) {
        self.place(routine.label);
        self.height = routine.args;
        let count = self.rng.below(4);
        // No further nesting: a subroutine calls none, so it always comes to its end.
        self.statements(count, 4);
        self.level(routine.results);
        if routine.results > 0 {
            // Brings the return label up; the results stay below it, in some order.
            self.op(op::SWAP1 + routine.results as u8 - 1, 0, 0);
        }
        self.op(op::JUMP, 1, 0);
    }

    /// A jump whose target the compiler cannot read off the push before it.
    fn computed_jump(&mut self) {
        let target = self.label();
        self.push_label(target);
        match self.rng.below(5) {
            0 => {
                self.push_number(0);
                self.op(op::ADD, 2, 1);
            }
            1 => {
                self.op(op::NOT, 1, 1);
                self.op(op::NOT, 1, 1);
            }
            2 => {
                self.push_number(0x200);
                self.op(op::MSTORE, 2, 0);
                self.push_number(0x200);
                self.op(op::MLOAD, 1, 1);
            }
            3 => {
                self.push_number(640);
                self.op(op::CALLDATALOAD, 1, 1);
                self.op(op::OR, 2, 1);
            }
            _ => {
                self.operand();
                self.op(op::SWAP1, 0, 0);
                self.op(op::DUP1, 0, 1);
                self.op(op::POP, 1, 0);
            }
        }
        if self.rng.chance(70) {
            self.op(op::JUMP, 1, 0);
            if self.rng.chance(30) {
                let len = self.rng.below(3);
                let dead = self.rng.bytes(len);
                self.items.push(Item::Raw(dead));
                // The dead bytes may end in a push that swallows what follows.
                self.items.push(Item::Raw(vec![0; 33]));
            }
        } else {
            self.condition();
            self.op(op::SWAP1, 0, 0);
            self.op(op::JUMPI, 2, 0);
        }
        self.place(target);
    }

    fn early_end(&mut self) {
        let skip = self.label();
        self.condition();
        self.push_label(skip);
        self.op(op::JUMPI, 2, 0);
        let before = self.height;
        self.end();
        self.place(skip);
        self.height = before;
    }

    fn end(&mut self) {
        match self.rng.below(8) {
            0 => self.op(op::STOP, 0, 0),
            1 => self.op(op::INVALID, 0, 0),
            2 => {
                self.address();
                self.op(op::SELFDESTRUCT, 1, 0);
            }
            3 | 4 => {
                self.offset();
                self.offset();
                self.op(op::REVERT, 2, 0);
            }
            _ => {
                self.offset();
                self.offset();
                self.op(op::RETURN, 2, 0);
            }
        }
    }

    /// A conditional jump to a place that is no JUMPDEST or only looks like one.
    fn jump_nowhere(&mut self) {
        self.condition();
        let target = match self.rng.below(3) {
            0 => self.rng.word(),
            1 => U256::from(self.rng.below(200)),
            _ => U256::from(1) << (16 + self.rng.below(100)),
        };
        self.push(target);
        if self.rng.chance(60) {
            self.op(op::JUMPI, 2, 0);
        }
        // Push data that holds a JUMPDEST byte.
        self.items.push(Item::Push(4, U256::from(0x5b5b_5b5bu64)));
        self.height += 1;
    }

    /// Makes what is left on the stack visible, then ends.
    fn epilogue(&mut self) {
        if self.rng.chance(85) {
            let shown = self.height.min(8);
            for index in 0..shown {
                self.push_number(index * 32);
                self.op(op::MSTORE, 2, 0);
            }
            self.push_number(shown * 32);
            self.push_number(0);
            let opcode = if self.rng.chance(90) {
                op::RETURN
            } else {
                op::REVERT
            };
            self.op(opcode, 2, 0);
        } else if self.rng.chance(60) {
            self.end();
        }
    }
}
