//! A host that may panic, called from code that cannot unwind.
//!
//! Compiled code has no unwind tables, and the builtins it calls abort the process on a panic. The
//! interpreter would let a host's panic through to the client. So does [`GuardedHost`]: it catches
//! the panic, answers as a host that failed, which ends the frame, and the panic goes on after
//! native code has returned.

use revmc::{
    HostExt,
    interpreter::{Host, LoadAccountResult, SStoreResult, SelfDestructResult},
    primitives::{Address, B256, Bytes, Env, Log, U256},
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

/// Keeps the first panic of the host it wraps.
pub(crate) struct GuardedHost<'a> {
    host: &'a mut dyn HostExt,
    panic: Option<Box<dyn Any + Send>>,
}

impl<'a> GuardedHost<'a> {
    pub(crate) fn new(host: &'a mut dyn HostExt) -> Self {
        Self { host, panic: None }
    }

    /// Goes on with the panic, if there was one.
    pub(crate) fn finish(self) {
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
    }

    /// What `f` gives, or the default after a panic; the host is not called again then.
    fn guard<R: Default>(&mut self, f: impl FnOnce(&mut dyn HostExt) -> R) -> R {
        if self.panic.is_some() {
            return R::default();
        }
        let host = &mut *self.host;
        match catch_unwind(AssertUnwindSafe(|| f(host))) {
            Ok(value) => value,
            Err(panic) => {
                self.panic = Some(panic);
                R::default()
            }
        }
    }
}

impl Host for GuardedHost<'_> {
    // A getter; nothing in it is the host's to compute.
    fn env(&self) -> &Env {
        self.host.env()
    }

    fn env_mut(&mut self) -> &mut Env {
        self.host.env_mut()
    }

    fn load_account(&mut self, address: Address) -> Option<LoadAccountResult> {
        self.guard(|host| host.load_account(address))
    }

    fn block_hash(&mut self, number: U256) -> Option<B256> {
        self.guard(|host| host.block_hash(number))
    }

    fn balance(&mut self, address: Address) -> Option<(U256, bool)> {
        self.guard(|host| host.balance(address))
    }

    fn code(&mut self, address: Address) -> Option<(Bytes, bool)> {
        self.guard(|host| host.code(address))
    }

    fn code_hash(&mut self, address: Address) -> Option<(B256, bool)> {
        self.guard(|host| host.code_hash(address))
    }

    fn sload(&mut self, address: Address, index: U256) -> Option<(U256, bool)> {
        self.guard(|host| host.sload(address, index))
    }

    fn sstore(&mut self, address: Address, index: U256, value: U256) -> Option<SStoreResult> {
        self.guard(|host| host.sstore(address, index, value))
    }

    fn tload(&mut self, address: Address, index: U256) -> U256 {
        self.guard(|host| host.tload(address, index))
    }

    fn tstore(&mut self, address: Address, index: U256, value: U256) {
        self.guard(|host| host.tstore(address, index, value));
    }

    fn log(&mut self, log: Log) {
        self.guard(|host| host.log(log));
    }

    fn selfdestruct(&mut self, address: Address, target: Address) -> Option<SelfDestructResult> {
        self.guard(|host| host.selfdestruct(address, target))
    }
}
