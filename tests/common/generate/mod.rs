//! Random programs with the shapes that real ones have: straight-line arithmetic on a deep stack,
//! branches, bounded loops, subroutines that return by a dynamic jump, memory, storage, calls and
//! creates, what solc, Vyper and people write around these; and, now and then, each of these broken.
//!
//! The generator tracks a lower bound of the stack height so that most programs run to their end.
//! Every choice is drawn from an [`Rng`]: a seed's, or a fuzzer's bytes.

mod control;
mod crowd;
mod effects;
mod idioms;

use super::asm::{Item, assemble};
use super::case::{Case, FORKS};
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
    draw(&mut Rng::new(seed))
}

/// A program of these choices.
pub fn draw(rng: &mut Rng) -> Program {
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
    let mut input = calldata(rng);
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
        selectors: Vec::new(),
    };
    writer.program();
    let Writer {
        mut items,
        selectors,
        ..
    } = writer;
    if !selectors.is_empty() && rng.chance(80) {
        // Calls a function that there is.
        let selector = rng.pick(&selectors).to_be_bytes();
        input.resize(input.len().max(4), 0);
        input[..4].copy_from_slice(&selector);
    }
    frame.input = input.into();
    if rng.chance(25) {
        damage(rng, &mut items);
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

struct Writer<'a> {
    rng: &'a mut Rng,
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
    /// What functions are called by.
    selectors: Vec<u32>,
}

impl Writer<'_> {
    fn program(&mut self) {
        for _ in 0..self.rng.below(6) {
            self.push_word();
        }
        if self.rng.chance(40) {
            self.prologue();
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
            0..=19 => self.idiom(nesting),
            20..=37 => self.arithmetic(),
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
