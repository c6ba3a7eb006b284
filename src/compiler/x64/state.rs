//! Where the words of a run are: the virtual operand stack, and the registers that hold its words.
//!
//! # Invariants
//!
//! * **V1** The word at position `i` of the virtual stack belongs into slot `i - base` of the stack in
//!   memory; slot 0 is the first above the top at the last canonical point, `[rbp]`.
//! * **V2** `memory[i]` is the value that slot `i - base` holds now, if it is one of this block's.
//! * **V3** A value that is on the virtual stack, or pinned, has at least one place: constant, slot, frame,
//!   registers, vector register, or flags.
//! * **V4** At most one value is in the flags, and whatever clobbers them saves it before.

use super::asm::{Cond, Gpr, Ymm};
use alloy_primitives::U256;

/// A value, by its number in a block.
pub(super) type Val = u32;

/// General-purpose registers that hold values.
pub(super) const POOL: [Gpr; 8] = [
    Gpr(1),
    Gpr(6),
    Gpr(2),
    Gpr(8),
    Gpr(9),
    Gpr(10),
    Gpr(11),
    Gpr(14),
];

/// Vector registers that hold values.
pub(super) const VECTORS: std::ops::Range<u8> = 2..13;

/// The low limbs of a word in registers; those above are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limbs {
    pub(super) count: u8,
    pub(super) regs: [Gpr; 4],
}

impl Limbs {
    pub(super) fn one(reg: Gpr) -> Self {
        Self {
            count: 1,
            regs: [reg; 4],
        }
    }

    pub(super) fn used(&self) -> &[Gpr] {
        &self.regs[..self.count as usize]
    }
}

/// A word that the run has computed or found.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Positions of the virtual stack that hold it.
    pub(super) uses: u32,
    /// Operands that are being worked on.
    pub(super) pinned: u32,
    /// It is less than 2^bits.
    pub(super) bits: u16,
    pub(super) constant: Option<U256>,
    pub(super) slot: Option<i32>,
    /// A field of the frame.
    pub(super) frame: Option<i32>,
    pub(super) limbs: Option<Limbs>,
    pub(super) ymm: Option<Ymm>,
    pub(super) flags: Option<Cond>,
    /// It is this value plus that constant, without wrapping.
    pub(super) offset: Option<(Val, u32)>,
}

impl Value {
    fn new(bits: u16) -> Self {
        Self {
            uses: 0,
            pinned: 0,
            bits,
            constant: None,
            slot: None,
            frame: None,
            limbs: None,
            ymm: None,
            flags: None,
            offset: None,
        }
    }

    fn live(&self) -> bool {
        self.uses > 0 || self.pinned > 0
    }

    /// Whether it would be lost without its registers.
    fn only_in_registers(&self) -> bool {
        self.constant.is_none() && self.slot.is_none() && self.frame.is_none()
    }
}

/// Where a word that a flush moves comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Source {
    Constant(U256),
    Limbs(Limbs),
    Vector(Ymm),
    Frame(i32),
    Slot(i32),
    Flags(Cond),
}

/// A step of a flush.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Move {
    Store {
        slot: i32,
        from: Source,
    },
    /// Into the vector register that breaks cycles; later sources that were this slot are that register.
    Save {
        slot: i32,
    },
}

/// The vector register that breaks cycles of a flush.
pub(super) const CYCLE: Ymm = Ymm(1);

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) values: Vec<Value>,
    pub(super) stack: Vec<Val>,
    /// V1.
    pub(super) base: i32,
    /// V2.
    memory: Vec<Option<Val>>,
    gprs: [Option<Val>; 16],
    vectors: [Option<Val>; 16],
    /// Registers that were taken and are no value's yet.
    taken_gprs: u16,
    taken_vectors: u16,
    /// V4.
    pub(super) flags: Option<Val>,
}

impl State {
    /// At a canonical point, with `inputs` words that are used below it and room for `grows` above.
    pub(super) fn new(inputs: u16, grows: u16) -> Self {
        let mut state = Self {
            values: Vec::new(),
            stack: Vec::new(),
            base: inputs.into(),
            memory: vec![None; inputs as usize + grows as usize + 1],
            gprs: [None; 16],
            vectors: [None; 16],
            taken_gprs: 0,
            taken_vectors: 0,
            flags: None,
        };
        for i in 0..usize::from(inputs) {
            let value = state.value(256);
            state.at_mut(value).slot = Some(i as i32 - state.base);
            state.memory[i] = Some(value);
            state.push(value);
        }
        state
    }

    /// Goes on with a block that uses `needs` words of the stack, at least, and has room for `grows` more.
    pub(super) fn extend(&mut self, needs: u16, grows: u16) {
        let missing = usize::from(needs).saturating_sub(self.stack.len());
        self.base += missing as i32;
        let below: Vec<Val> = (0..missing)
            .map(|i| {
                let value = self.value(256);
                self.at_mut(value).slot = Some(i as i32 - self.base);
                self.at_mut(value).uses = 1;
                value
            })
            .collect();
        self.memory.splice(0..0, below.iter().copied().map(Some));
        self.stack.splice(0..0, below);
        let room = self.stack.len() + usize::from(grows) + 1;
        if self.memory.len() < room {
            self.memory.resize(room, None);
        }
    }

    /// Begins at the next canonical point: everything is in memory, and the top is slot 0.
    fn rebase(&mut self) {
        let shift = self.stack.len() as i32 - self.base;
        self.base += shift;
        for value in &mut self.values {
            value.slot = value.slot.map(|slot| slot - shift);
        }
        self.forget_registers();
    }

    /// Nothing is in registers any more. Every live value has another place.
    pub(super) fn forget_registers(&mut self) {
        for value in std::mem::take(&mut self.gprs).into_iter().flatten() {
            self.at_mut(value).limbs = None;
        }
        for value in std::mem::take(&mut self.vectors).into_iter().flatten() {
            self.at_mut(value).ymm = None;
        }
        self.drop_flags();
    }

    /// Behind an instruction that took `inputs` words and left `outputs` new ones, all in memory.
    pub(super) fn cross(&mut self, inputs: u16, outputs: u16) {
        for _ in 0..inputs {
            let value = self.pop();
            self.unpin(value);
        }
        for memory in &mut self.memory[self.stack.len()..] {
            *memory = None;
        }
        for value in &mut self.values {
            value.slot = None;
        }
        for _ in 0..outputs {
            let value = self.value(256);
            self.memory[self.stack.len()] = Some(value);
            self.push(value);
        }
        for i in 0..self.stack.len() {
            let value = &mut self.values[self.stack[i] as usize];
            value.slot = Some(i as i32 - self.base);
            // Whoever had the stack in hand is believed to leave alone which limbs of a word are zero, and
            // nothing that addresses are not compared for.
            if value.constant.is_none() {
                value.bits = value.bits.next_multiple_of(64);
                value.offset = None;
            }
        }
        self.rebase();
        self.compact();
    }

    /// Drops the numbers of values that are gone; only where nothing is pinned.
    pub(super) fn compact(&mut self) {
        if self.values.len() < 2 * self.memory.len() + 64 {
            return;
        }
        let mut names: Vec<Option<Val>> = vec![None; self.values.len()];
        let old = std::mem::take(&mut self.values);
        for (number, value) in old.into_iter().enumerate() {
            if value.uses > 0 {
                names[number] = Some(self.values.len() as Val);
                self.values.push(value);
            }
        }
        let rename = |value: &mut Option<Val>| *value = value.and_then(|v| names[v as usize]);
        for value in &mut self.values {
            value.offset = value
                .offset
                .and_then(|(base, by)| Some((names[base as usize]?, by)));
        }
        self.memory.iter_mut().for_each(rename);
        self.gprs.iter_mut().for_each(rename);
        self.vectors.iter_mut().for_each(rename);
        rename(&mut self.flags);
        for position in &mut self.stack {
            // On the stack, so it has uses.
            *position = names[*position as usize].unwrap_or(0);
        }
    }

    pub(super) fn at(&self, value: Val) -> &Value {
        &self.values[value as usize]
    }

    pub(super) fn at_mut(&mut self, value: Val) -> &mut Value {
        &mut self.values[value as usize]
    }

    pub(super) fn value(&mut self, bits: u16) -> Val {
        self.values.push(Value::new(bits));
        self.values.len() as Val - 1
    }

    pub(super) fn constant(&mut self, constant: U256) -> Val {
        let value = self.value(constant.bit_len() as u16);
        self.at_mut(value).constant = Some(constant);
        value
    }

    pub(super) fn in_limbs(&mut self, bits: u16, limbs: Limbs) -> Val {
        let value = self.value(bits);
        self.set_limbs(value, limbs);
        value
    }

    pub(super) fn set_limbs(&mut self, value: Val, limbs: Limbs) {
        for reg in limbs.used() {
            self.gprs[reg.0 as usize] = Some(value);
            self.taken_gprs &= !(1 << reg.0);
        }
        self.at_mut(value).limbs = Some(limbs);
    }

    pub(super) fn set_ymm(&mut self, value: Val, ymm: Ymm) {
        self.vectors[ymm.0 as usize] = Some(value);
        self.taken_vectors &= !(1 << ymm.0);
        self.at_mut(value).ymm = Some(ymm);
    }

    pub(super) fn set_flags(&mut self, value: Val, cond: Cond) {
        self.flags = Some(value);
        self.at_mut(value).flags = Some(cond);
    }

    pub(super) fn drop_flags(&mut self) {
        if let Some(value) = self.flags.take() {
            self.at_mut(value).flags = None;
        }
    }

    pub(super) fn push(&mut self, value: Val) {
        self.at_mut(value).uses += 1;
        self.stack.push(value);
    }

    /// The two upper words, which the block needs: the top first.
    pub(super) fn top_two(&self) -> (Val, Val) {
        let top = self.stack.len() - 1;
        (self.stack[top], self.stack[top - 1])
    }

    /// Takes the top off and keeps its places until [`unpin`](Self::unpin).
    pub(super) fn pop(&mut self) -> Val {
        let value = self.stack.pop().expect("the block needs as many words");
        let at = self.at_mut(value);
        at.uses -= 1;
        at.pinned += 1;
        value
    }

    pub(super) fn unpin(&mut self, value: Val) {
        self.at_mut(value).pinned -= 1;
        self.release(value);
    }

    /// Frees the registers of a value that is no more.
    pub(super) fn release(&mut self, value: Val) {
        if self.at(value).live() {
            return;
        }
        self.drop_registers(value);
        if self.flags == Some(value) {
            self.drop_flags();
        }
    }

    pub(super) fn drop_registers(&mut self, value: Val) {
        let at = self.at_mut(value);
        let (limbs, ymm) = (at.limbs.take(), at.ymm.take());
        for reg in limbs.iter().flat_map(Limbs::used) {
            self.gprs[reg.0 as usize] = None;
        }
        if let Some(ymm) = ymm {
            self.vectors[ymm.0 as usize] = None;
        }
    }

    pub(super) fn dup(&mut self, depth: usize) {
        self.push(self.stack[self.stack.len() - depth]);
    }

    pub(super) fn exchange(&mut self, a: usize, b: usize) {
        let top = self.stack.len() - 1;
        self.stack.swap(top - a, top - b);
    }

    /// Whether a register may be taken from its value. A word that is in registers of both kinds, and nowhere
    /// else, counts as spare among these only: an instruction that takes of both finds as many as were counted.
    fn free_gpr(&self, reg: Gpr) -> bool {
        let spare = |value| {
            let at = self.at(value);
            at.pinned == 0 && !(at.live() && at.only_in_registers() && at.ymm.is_none())
        };
        self.taken_gprs & 1 << reg.0 == 0 && self.gprs[reg.0 as usize].is_none_or(spare)
    }

    fn free_vector(&self, reg: u8) -> bool {
        let spare = |value| {
            let at = self.at(value);
            at.pinned == 0 && !(at.live() && at.only_in_registers())
        };
        self.taken_vectors & 1 << reg == 0 && self.vectors[reg as usize].is_none_or(spare)
    }

    /// Registers that can be had, general-purpose and vector ones.
    pub(super) fn free(&self) -> (usize, usize) {
        (
            POOL.iter().filter(|reg| self.free_gpr(**reg)).count(),
            VECTORS.filter(|reg| self.free_vector(*reg)).count(),
        )
    }

    /// Whether no vector register holds anything.
    pub(super) fn has_no_vectors(&self) -> bool {
        self.taken_vectors == 0 && self.vectors.iter().all(Option::is_none)
    }

    /// A register, preferably one that nothing is in. The emitter has made sure that there is one.
    pub(super) fn take_gpr(&mut self) -> Gpr {
        let empty = |reg: &&Gpr| self.free_gpr(**reg) && self.gprs[reg.0 as usize].is_none();
        let reg = *POOL
            .iter()
            .find(empty)
            .or_else(|| POOL.iter().find(|reg| self.free_gpr(**reg)))
            .expect("a register was reserved");
        self.take_this_gpr(reg);
        reg
    }

    fn take_this_gpr(&mut self, reg: Gpr) {
        if let Some(value) = self.gprs[reg.0 as usize]
            && let Some(limbs) = self.at_mut(value).limbs.take()
        {
            for reg in limbs.used() {
                self.gprs[reg.0 as usize] = None;
            }
        }
        self.taken_gprs |= 1 << reg.0;
    }

    /// Takes this register, if it can be had.
    pub(super) fn try_take(&mut self, reg: Gpr) -> bool {
        let free = self.free_gpr(reg);
        if free {
            self.take_this_gpr(reg);
        }
        free
    }

    /// Gives back a register that no value was put in.
    pub(super) fn give(&mut self, reg: Gpr) {
        self.taken_gprs &= !(1 << reg.0);
    }

    pub(super) fn take_vector(&mut self) -> Ymm {
        let empty = |reg: &u8| self.free_vector(*reg) && self.vectors[*reg as usize].is_none();
        let reg = VECTORS
            .clone()
            .find(empty)
            .or_else(|| VECTORS.clone().find(|reg| self.free_vector(*reg)))
            .expect("a register was reserved");
        if let Some(value) = self.vectors[reg as usize].take() {
            self.at_mut(value).ymm = None;
        }
        self.taken_vectors |= 1 << reg;
        Ymm(reg)
    }

    /// Moves the value in `from` to `to`, which was taken.
    pub(super) fn rename_gpr(&mut self, from: Gpr, to: Gpr) {
        if let Some(value) = self.gprs[from.0 as usize].take() {
            self.gprs[to.0 as usize] = Some(value);
            self.taken_gprs &= !(1 << to.0);
            if let Some(limbs) = &mut self.at_mut(value).limbs {
                for reg in &mut limbs.regs {
                    if *reg == from {
                        *reg = to;
                    }
                }
            }
        }
    }

    /// Where a value is, best for moving all of it.
    pub(super) fn source(&self, value: Val) -> Source {
        let at = self.at(value);
        if let Some(constant) = at.constant {
            Source::Constant(constant)
        } else if let Some(ymm) = at.ymm {
            Source::Vector(ymm)
        } else if let Some(limbs) = at.limbs {
            Source::Limbs(limbs)
        } else if let Some(frame) = at.frame {
            Source::Frame(frame)
        } else if let Some(slot) = at.slot {
            Source::Slot(slot)
        } else {
            // V3
            Source::Flags(at.flags.expect("a live value is somewhere"))
        }
    }

    /// Positions that do not hold their word in memory.
    pub(super) fn dirty(&self) -> usize {
        self.stack
            .iter()
            .zip(&self.memory)
            .filter(|(value, memory)| Some(**value) != **memory)
            .count()
    }

    /// What brings all words of the virtual stack to their slots, in an order in which no word is
    /// overwritten before it has been read.
    pub(super) fn moves(&self) -> Vec<Move> {
        let mut pending: Vec<(i32, Source)> = Vec::new();
        for (i, &value) in self.stack.iter().enumerate() {
            if self.memory[i] != Some(value) {
                pending.push((i as i32 - self.base, self.source(value)));
            }
        }
        // How many pending moves read a slot, apart from one into itself.
        let mut readers = vec![0u32; self.memory.len()];
        for &(_, from) in &pending {
            if let Source::Slot(from) = from {
                readers[(from + self.base) as usize] += 1;
            }
        }
        let mut ready: Vec<usize> = Vec::new();
        let mut at = vec![None; self.memory.len()];
        for (i, &(slot, _)) in pending.iter().enumerate() {
            at[(slot + self.base) as usize] = Some(i);
            if readers[(slot + self.base) as usize] == 0 {
                ready.push(i);
            }
        }
        let mut done = vec![false; pending.len()];
        let mut moves = Vec::with_capacity(pending.len());
        let mut next = 0;
        loop {
            while let Some(i) = ready.pop() {
                done[i] = true;
                let (slot, from) = pending[i];
                moves.push(Move::Store { slot, from });
                if let Source::Slot(from) = from {
                    let from = (from + self.base) as usize;
                    readers[from] -= 1;
                    if readers[from] == 0
                        && let Some(unblocked) = at[from]
                        && !done[unblocked]
                    {
                        ready.push(unblocked);
                    }
                }
            }
            // Only cycles are left: save what stands in the way of the first.
            while next < pending.len() && done[next] {
                next += 1;
            }
            let Some(&(slot, _)) = pending.get(next) else {
                return moves;
            };
            moves.push(Move::Save { slot });
            readers[(slot + self.base) as usize] = 0;
            for (i, (_, from)) in pending.iter_mut().enumerate() {
                if !done[i] && *from == Source::Slot(slot) {
                    *from = Source::Vector(CYCLE);
                }
            }
            ready.push(next);
        }
    }

    /// The words are in their slots now.
    pub(super) fn settled(&mut self) {
        for i in 0..self.memory.len() {
            let slot = i as i32 - self.base;
            let new = self.stack.get(i).copied();
            let Some(new) = new else { continue };
            if let Some(old) = self.memory[i]
                && old != new
                && self.at(old).slot == Some(slot)
            {
                self.at_mut(old).slot = None;
            }
            self.memory[i] = Some(new);
            self.at_mut(new).slot = Some(slot);
        }
    }
}
