//! What lowering needs of an insertion point beyond the arithmetic: code that nothing leads to, and
//! instructions ahead of a block's end.

use crate::compiler::limbs::{Emit, Limb, Region, Word};
use cranelift_codegen::ir::{self, InstBuilder, types};

/// `(low, high)` of the helper call convention: two words in scratch memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scratch {
    pub(super) slot: ir::StackSlot,
}

impl Emit {
    /// Emits what `f` does before the instruction that ends `block`.
    pub(super) fn before_end_of<R>(
        &mut self,
        block: ir::Block,
        f: impl FnOnce(&mut Self) -> R,
    ) -> R {
        self.before = self.func.layout.last_inst(block);
        let result = f(self);
        self.before = None;
        result
    }

    /// Emits into a block of its own, which [`discard_dead_code`](Self::discard_dead_code) removes,
    /// until [`revive`](Self::revive): the front end cannot be told that nothing leads here.
    pub(super) fn die(&mut self, pit: &mut Option<ir::Block>) {
        let block = *pit.get_or_insert_with(|| {
            let block = self.func.dfg.make_block();
            self.func.layout.append_block(block);
            block
        });
        self.block = block;
        self.dead = Some(block);
    }

    pub(super) fn revive(&mut self) {
        self.dead = None;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    pub(super) fn discard_dead_code(&mut self, pit: Option<ir::Block>) {
        if let Some(block) = pit {
            self.func.layout.remove_block_and_insts(block);
        }
    }

    /// A load of something that does not change while the function runs.
    pub(super) fn load_invariant(
        &mut self,
        ty: ir::Type,
        base: ir::Value,
        offset: i32,
    ) -> ir::Value {
        let flags = self.flags(Region::Context).with_readonly().with_can_move();
        self.cursor().ins().load(ty, flags, base, offset)
    }

    pub(super) fn word_bswap(&mut self, a: Word) -> Word {
        let [a, b, c, d] = a.0.map(|limb| self.bswap(limb));
        Word([d, c, b, a])
    }

    pub(super) fn load_word(&mut self, region: Region, base: ir::Value, offset: i32) -> Word {
        Word(std::array::from_fn(|i| {
            Limb::Val(self.load(types::I64, region, base, offset + 8 * i as i32))
        }))
    }

    pub(super) fn store_word(&mut self, region: Region, word: Word, base: ir::Value, offset: i32) {
        for (i, limb) in word.0.into_iter().enumerate() {
            let value = self.value(limb);
            self.store(region, value, base, offset + 8 * i as i32);
        }
    }
}
