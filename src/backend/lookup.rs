//! Lookups: what an execution thread calls.

use super::{
    BLOCKING, JitBackend, ON,
    answers::{
        BorrowedDecision, InterpretReason, LookupDecision, LookupRequest, ProgramRef, Verdict,
    },
    core::Core,
    request::{Code, Road},
};
use crate::{
    error::{Blame, Error, Result},
    hotness::MISS,
    key::RuntimeCacheKey,
    program::CompiledProgram,
    resident::Lookup,
};
use alloy_primitives::{B256, Bytes};
use revm_interpreter::primitives::hardfork::SpecId;
use std::{
    mem::ManuallyDrop,
    sync::{Arc, atomic::Ordering::Relaxed},
};

impl JitBackend {
    /// How to run a frame of this contract. Never blocks, except in
    /// [blocking mode](crate::RuntimeConfig::blocking).
    ///
    /// A hit is a read of the map. A miss counts towards the contract's heat, and the one that
    /// makes it hot leaves a message for the backend thread, or drops it if there is no room.
    ///
    /// ```
    /// # use revmc_jit::{Error, InterpretReason, JitBackend, LookupDecision, LookupRequest};
    /// # use revmc_jit::{BorrowedDecision, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// let decision = backend.lookup(LookupRequest { key, code: code.clone() });
    /// assert!(matches!(decision, LookupDecision::Interpret(InterpretReason::NotReady)));
    ///
    /// backend.compile_jit_sync(LookupRequest { key, code: code.clone() })?;
    /// let decision = backend.lookup(LookupRequest { key, code });
    /// assert!(matches!(decision, LookupDecision::Compiled(_)));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn lookup(&self, request: LookupRequest) -> LookupDecision {
        self.lookup_ref(&request.key, &request.code)
    }

    /// [`lookup`](Self::lookup) for a caller who keeps the bytecode: no reference count of it is
    /// touched unless the contract becomes hot.
    #[inline]
    pub fn lookup_ref(&self, key: &RuntimeCacheKey, code: &Bytes) -> LookupDecision {
        match self.on() {
            Some(core) => core.lookup(key, code),
            None => self.lookup_slow(key, code),
        }
    }

    /// [`lookup`](Self::lookup) without a reference count of the program either: a hit costs no
    /// atomic read-modify-write. The program may be kept for as long as a frame runs; that delays
    /// the freeing of no other.
    ///
    /// In [blocking mode](crate::RuntimeConfig::blocking) a miss that was compiled counts as a miss and
    /// as a hit.
    ///
    /// ```
    /// # use revmc_jit::{Error, InterpretReason, JitBackend, LookupDecision, LookupRequest};
    /// # use revmc_jit::{BorrowedDecision, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// backend.compile_jit_sync(LookupRequest { key, code: code.clone() })?;
    /// match backend.lookup_borrowed(&key, &code) {
    ///     BorrowedDecision::Compiled(program) => assert_eq!(program.bytecode_len(), code.len()),
    ///     BorrowedDecision::Interpret(reason) => panic!("{reason}"),
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn lookup_borrowed(&self, key: &RuntimeCacheKey, code: &Bytes) -> BorrowedDecision<'_> {
        self.lookup_borrowed_of(key, code)
    }

    /// The same for a caller who would have to make the [`Bytes`].
    #[inline]
    pub(crate) fn lookup_borrowed_of(
        &self,
        key: &RuntimeCacheKey,
        code: &impl Code,
    ) -> BorrowedDecision<'_> {
        let Some(core) = self.on() else {
            return match self.borrow_slow(key, code) {
                Ok(program) => BorrowedDecision::Compiled(program),
                Err(reason) => BorrowedDecision::Interpret(reason),
            };
        };
        BorrowedDecision::Interpret(match core.reader.borrow(key) {
            Lookup::Hit(program) => return BorrowedDecision::Compiled(program),
            Lookup::Negative(verdict) => core.refused(key, code, verdict),
            Lookup::Miss => core.missed(key, code),
        })
    }

    /// Calls `f` with the program, or with the reason to interpret. The cheapest lookup; `f`
    /// should be short, as nothing that is dropped meanwhile is freed before it returns.
    ///
    /// ```
    /// # use revmc_jit::{Error, InterpretReason, JitBackend, LookupDecision, LookupRequest};
    /// # use revmc_jit::{BorrowedDecision, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// let why = backend.lookup_with(&key, &code, |found| found.err());
    /// assert_eq!(why, Some(InterpretReason::NotReady));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn lookup_with<R>(
        &self,
        key: &RuntimeCacheKey,
        code: &Bytes,
        f: impl FnOnce(Result<&CompiledProgram, InterpretReason>) -> R,
    ) -> R {
        let Some(core) = self.on() else {
            return match self.lookup_slow(key, code) {
                LookupDecision::Compiled(program) => f(Ok(&program)),
                LookupDecision::Interpret(reason) => f(Err(reason)),
            };
        };
        let found = core.reader.with(key, |found| match found {
            Lookup::Hit(program) => Ok(f(Ok(program))),
            Lookup::Negative(verdict) => Err((f, Some(verdict))),
            Lookup::Miss => Err((f, None)),
        });
        match found {
            Ok(result) => result,
            Err((f, Some(verdict))) => f(Err(core.refused(key, code, verdict))),
            Err((f, None)) => f(Err(core.missed(key, code))),
        }
    }

    /// The resident program, without counting or heating anything, and whatever
    /// [`enabled`](Self::enabled) says. Never blocks.
    ///
    /// ```
    /// # use revmc_jit::{Error, InterpretReason, JitBackend, LookupDecision, LookupRequest};
    /// # use revmc_jit::{BorrowedDecision, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// backend.compile_jit_sync(LookupRequest { key, code })?;
    /// let program = backend.get_compiled(key.code_hash, key.spec_id).expect("resident");
    /// println!("{} bytes of code are mapped", program.mapped_len());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_compiled(&self, code_hash: B256, spec_id: SpecId) -> Option<Arc<CompiledProgram>> {
        let key = RuntimeCacheKey { code_hash, spec_id };
        self.0.core.get()?.reader.peek(&key).hit()
    }

    /// [`get_compiled`](Self::get_compiled), counted as a hit or a miss, and as a use of the
    /// program. A miss does not heat the contract. Never blocks.
    pub fn get_compiled_tracked(
        &self,
        code_hash: B256,
        spec_id: SpecId,
    ) -> Option<Arc<CompiledProgram>> {
        let key = RuntimeCacheKey { code_hash, spec_id };
        self.0.core.get()?.reader.get(&key).hit()
    }

    /// A lookup that compiles what is missing, and waits for it.
    ///
    /// ```
    /// # use revmc_jit::{Error, InterpretReason, JitBackend, LookupDecision, LookupRequest};
    /// # use revmc_jit::{BorrowedDecision, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// let decision = backend.lookup_blocking(LookupRequest { key, code });
    /// assert!(decision.program().is_some());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// `Interpret` if the contract is ineligible, if compilation fails or has failed lately, or,
    /// as [`InterpretReason::NotReady`], if nobody is there to compile: the backend is paused (also
    /// if it is while this waits) or has ended, this is a forked child or one of the backend's own threads.
    pub fn lookup_blocking(&self, request: LookupRequest) -> LookupDecision {
        match self.0.core.get() {
            Some(core) if self.is_on() => self.lookup_or_compile(core, &request.key, &request.code),
            _ => LookupDecision::Interpret(InterpretReason::Disabled),
        }
    }

    /// Reports that the interpreter ran this contract and used so much gas, so that promotion
    /// follows work and not only the number of calls: every
    /// [`hot_gas_per_miss`](crate::RuntimeTuning::hot_gas_per_miss) of it weigh like one more miss.
    /// Optional, in addition to lookups. Never blocks.
    ///
    /// ```
    /// # use revmc_jit::{Error, InterpretReason, JitBackend, LookupDecision, LookupRequest};
    /// # use revmc_jit::{BorrowedDecision, RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// // One call of a contract that runs for long: worth compiling at once.
    /// backend.record_interpreted(&key, &code, 30_000_000);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn record_interpreted(&self, key: &RuntimeCacheKey, code: &Bytes, gas: u64) {
        self.record_interpreted_of(key, code, gas);
    }

    /// The same for a caller who would have to make the [`Bytes`].
    #[inline]
    pub(crate) fn record_interpreted_of(&self, key: &RuntimeCacheKey, code: &impl Code, gas: u64) {
        let running = |core: &&ManuallyDrop<Core>| self.is_on() && core.shared.is_alive();
        let Some(core) = self.0.core.get().filter(running) else {
            return;
        };
        let weight = core.shared.sketch.weight_of_gas(gas);
        if weight == 0 {
            return;
        }
        if core.shared.tuning.should_compile(code.as_slice())
            && core.shared.sketch.record(key, weight, core.shared.hot)
        {
            core.report(key, code);
        }
    }

    /// Counts a frame that its program has refused.
    #[cfg(feature = "revm")]
    #[cold]
    pub(crate) fn count_refused_frame(&self) {
        if let Some(core) = self.0.core.get() {
            crate::stats::add(&core.shared.counters.frames_refused, 1);
        }
    }

    /// Shows the input of a frame of this contract that is about to be interpreted, so that a program's
    /// [`trial`](crate::trial) can begin with calls that are made. One for each selector is kept, its
    /// first 512 bytes, as long as no other displaces it
    /// ([`sampled_inputs`](crate::RuntimeTuning::sampled_inputs)). Optional, in addition to lookups that
    /// missed. Never blocks, allocates nothing.
    ///
    /// ```
    /// # use revmc_jit::{Error, InterpretReason, JitBackend, LookupDecision, LookupRequest};
    /// # use revmc_jit::{RuntimeCacheKey, RuntimeConfig};
    /// # use revmc_jit::primitives::{Bytes, SpecId, keccak256};
    /// # let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
    /// # let key = RuntimeCacheKey { code_hash: keccak256(&code), spec_id: SpecId::CANCUN };
    /// # let calldata = [0xa9, 0x05, 0x9c, 0xbb];
    /// let backend = JitBackend::new(RuntimeConfig::default())?;
    /// let decision = backend.lookup_ref(&key, &code);
    /// if let LookupDecision::Interpret(InterpretReason::NotReady) = decision {
    ///     backend.record_input(&key, &calldata);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn record_input(&self, key: &RuntimeCacheKey, input: &[u8]) {
        if let Some(core) = self.0.core.get() {
            core.shared.samples.offer(key, input);
        }
    }

    /// The core, if lookups answer at once.
    #[inline]
    fn on(&self) -> Option<&Core> {
        // Relaxed: see `set_enabled`.
        if self.0.mode.load(Relaxed) != ON {
            return None;
        }
        self.0.core.get().map(|core| &**core)
    }

    /// A lookup while [`on`](Self::on) says no.
    #[cold]
    fn lookup_slow(&self, key: &RuntimeCacheKey, code: &Bytes) -> LookupDecision {
        match self.0.core.get() {
            Some(core) if self.0.mode.load(Relaxed) == BLOCKING => {
                self.lookup_or_compile(core, key, code)
            }
            _ => LookupDecision::Interpret(InterpretReason::Disabled),
        }
    }

    /// The same for a borrowed program. (Not a [`BorrowedDecision`], which the caller would then
    /// have to keep in memory for its other road too.)
    #[cold]
    fn borrow_slow(
        &self,
        key: &RuntimeCacheKey,
        code: &impl Code,
    ) -> Result<ProgramRef<'_>, InterpretReason> {
        // Relaxed: see `set_enabled`.
        if self.0.mode.load(Relaxed) != BLOCKING {
            return Err(InterpretReason::Disabled);
        }
        if let LookupDecision::Interpret(reason) = self.lookup_slow(key, &code.to_bytes()) {
            return Err(reason);
        }
        match self.0.core.get().map(|core| core.reader.borrow(key)) {
            Some(Lookup::Hit(program)) => Ok(program),
            _ => Err(InterpretReason::NotReady),
        }
    }

    fn lookup_or_compile(
        &self,
        core: &Core,
        key: &RuntimeCacheKey,
        code: &Bytes,
    ) -> LookupDecision {
        let verdict = match core.reader.get(key) {
            Lookup::Hit(program) => return LookupDecision::Compiled(program),
            Lookup::Negative(verdict) => Some(verdict),
            Lookup::Miss => None,
        };
        if let Err(reason) = self.compile_missing(core, key, code, verdict) {
            return LookupDecision::Interpret(reason);
        }
        // Not counted again.
        match core.reader.peek(key) {
            Lookup::Hit(program) => LookupDecision::Compiled(program),
            _ => LookupDecision::Interpret(InterpretReason::NotReady),
        }
    }

    fn compile_missing(
        &self,
        core: &Core,
        key: &RuntimeCacheKey,
        code: &Bytes,
        verdict: Option<Verdict>,
    ) -> Result<(), InterpretReason> {
        match verdict {
            Some(Verdict::Failed) => return Err(InterpretReason::JitFailed),
            Some(Verdict::Ineligible) => return Err(InterpretReason::Ineligible),
            Some(Verdict::Indexed) | None => {}
        }
        self.compile_sync(core, key, code, Road::Best)
            .map_err(|error| match error {
                Error::Ineligible(_) => InterpretReason::Ineligible,
                Error::Stopped => InterpretReason::Stopped,
                // Nothing was found out about the code.
                error if error.blame() == Blame::System => InterpretReason::NotReady,
                Error::Paused
                | Error::QueueFull(_)
                | Error::Forked
                | Error::Cleared(_)
                | Error::WouldDeadlock => InterpretReason::NotReady,
                _ => InterpretReason::JitFailed,
            })
    }
}

/// Out of line, all of these: a backend that is switched off costs its callers a load and a branch
/// and not a frame, and a hit does not carry what a miss needs.
impl Core {
    #[inline(never)]
    fn lookup(&self, key: &RuntimeCacheKey, code: &Bytes) -> LookupDecision {
        LookupDecision::Interpret(match self.reader.get(key) {
            Lookup::Hit(program) => return LookupDecision::Compiled(program),
            Lookup::Negative(verdict) => self.refused(key, code, verdict),
            Lookup::Miss => self.missed(key, code),
        })
    }

    /// Says why to interpret what has a negative entry.
    #[inline(never)]
    fn refused(
        &self,
        key: &RuntimeCacheKey,
        code: &impl Code,
        verdict: Verdict,
    ) -> InterpretReason {
        match verdict {
            Verdict::Failed => InterpretReason::JitFailed,
            Verdict::Ineligible => InterpretReason::Ineligible,
            // An artifact is as good as compiled: the first use loads it.
            Verdict::Indexed => self.count_miss(key, code, MISS),
        }
    }

    /// Counts a miss, reports the key if that makes it hot, and says why to interpret.
    #[inline(never)]
    fn missed(&self, key: &RuntimeCacheKey, code: &impl Code) -> InterpretReason {
        self.count_miss(key, code, self.shared.hot)
    }

    #[inline(always)]
    fn count_miss(
        &self,
        key: &RuntimeCacheKey,
        code: &impl Code,
        threshold: u32,
    ) -> InterpretReason {
        if !self.shared.tuning.should_compile(code.as_slice()) {
            return InterpretReason::Ineligible;
        }
        if !self.shared.is_alive() {
            return InterpretReason::Stopped;
        }
        match self.shared.sketch.count(key, MISS, threshold) {
            Some(false) => InterpretReason::NotReady,
            counted => self.count_rare_miss(key, code, threshold, counted),
        }
    }

    /// A miss of a key that is not being counted, or that has become hot by it.
    #[inline(never)]
    fn count_rare_miss(
        &self,
        key: &RuntimeCacheKey,
        code: &impl Code,
        threshold: u32,
        counted: Option<bool>,
    ) -> InterpretReason {
        if counted.unwrap_or_else(|| self.shared.sketch.admit(key, MISS, threshold)) {
            self.report(key, code);
        }
        InterpretReason::NotReady
    }
}
