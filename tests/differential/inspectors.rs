//! Inspectors: one that watches steps sees them all; under one that watches none, frames run natively and
//! it is told the rest as ever.

use crate::{
    common::{
        case::{CONTRACT, Case},
        database::Recorder,
        engine::{World, world},
        generate,
        programs::CALLS,
        types::{Address, Bytes, SpecId, U256},
    },
    transactions::{Seen, Setup, backend, see},
};
use revm::{
    InspectEvm, InspectSystemCallEvm, Inspector, MainBuilder,
    handler::{FrameResult, MainnetEvm},
    inspector::JournalExt,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, FrameInput, InstructionResult,
        Interpreter,
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
    primitives::Log,
};
use revmc_jit::{
    JitBackend,
    revm::{CallsOnly, JitEvm},
};
use std::sync::Arc;

/// Writes down everything that it is told.
#[derive(Debug, Default, PartialEq)]
struct Scribe(Vec<String>);

impl Inspector<World, EthInterpreter> for Scribe {
    fn step(&mut self, interpreter: &mut Interpreter, _: &mut World) {
        let code = &interpreter.bytecode;
        let (pc, opcode, gas) = (code.pc(), code.opcode(), interpreter.gas.remaining());
        let (stack, memory) = (interpreter.stack.data(), interpreter.memory.len());
        self.0
            .push(format!("{pc} {opcode:#04x} {gas} {stack:x?} {memory}"));
    }

    fn step_end(&mut self, interpreter: &mut Interpreter, _: &mut World) {
        self.0.push(format!("{}", interpreter.gas.remaining()));
    }

    fn call(&mut self, _: &mut World, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.0.push(format!("{inputs:?}"));
        None
    }

    fn call_end(&mut self, _: &mut World, _: &CallInputs, outcome: &mut CallOutcome) {
        self.0.push(format!("{outcome:?}"));
    }

    fn create(&mut self, _: &mut World, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.0.push(format!("{inputs:?}"));
        None
    }
}

/// What an inspector does when it is shown a log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum AtLog {
    #[default]
    Nothing,
    /// Ends the frame.
    Halt,
    /// Gives and takes gas, words and memory, which the frame goes on with.
    Gas,
    Push,
    Grow,
    /// Goes on elsewhere in the code.
    Jump,
    /// Another caller, account and value.
    Input,
    /// Each word on the stack is one more.
    Words,
    /// Goes on by an older fork's rules.
    Fork,
}

/// Writes down everything but steps, with what it finds in the interpreter's and the journal's hands.
#[derive(Clone, Debug, Default, PartialEq)]
struct Events {
    lines: Vec<String>,
    at_log: AtLog,
}

impl Events {
    fn note(&mut self, context: &World, what: String) {
        let journal = &context.journaled_state;
        let (entries, logs) = (journal.journal().len(), journal.logs.len());
        self.lines.push(format!("{what} [{entries} {logs}]"));
    }
}

impl Inspector<World, EthInterpreter> for Events {
    fn initialize_interp(&mut self, interpreter: &mut Interpreter, context: &mut World) {
        self.note(context, format!("begin {}", interpreter.gas.remaining()));
    }

    fn log(&mut self, context: &mut World, log: Log) {
        self.note(context, format!("{log:?}"));
    }

    fn log_full(&mut self, interpreter: &mut Interpreter, context: &mut World, log: Log) {
        let (pc, gas) = (interpreter.bytecode.pc(), interpreter.gas);
        let (stack, memory) = (interpreter.stack.data(), interpreter.memory.len());
        let end = interpreter.bytecode.action().clone();
        self.note(
            context,
            format!("{log:?} at {pc}, {gas:?} {stack:x?} {memory} {end:?}"),
        );
        match self.at_log {
            AtLog::Nothing => {}
            AtLog::Halt => interpreter.halt(InstructionResult::Revert),
            AtLog::Gas => {
                let gas = &mut interpreter.gas;
                gas.set_remaining(gas.remaining() / 2 + 17);
            }
            AtLog::Push => {
                let _ = interpreter.stack.push(U256::from(0xfeed));
            }
            AtLog::Grow => {
                let _ = interpreter.resize_memory(&context.cfg.gas_params, 0, 4096);
            }
            AtLog::Jump => interpreter.bytecode.relative_jump(1),
            AtLog::Input => {
                interpreter.input.caller_address = Address::with_last_byte(0x11);
                interpreter.input.target_address = Address::with_last_byte(0x22);
                interpreter.input.call_value = U256::from(0x33);
            }
            AtLog::Words => {
                for word in interpreter.stack.data_mut() {
                    *word = word.wrapping_add(U256::ONE);
                }
            }
            AtLog::Fork => interpreter.runtime_flag.spec_id = SpecId::FRONTIER,
        }
    }

    fn frame_start(&mut self, context: &mut World, input: &mut FrameInput) -> Option<FrameResult> {
        self.note(context, format!("start {input:?}"));
        None
    }

    fn frame_end(&mut self, context: &mut World, _: &FrameInput, result: &mut FrameResult) {
        self.note(context, format!("end {result:?}"));
    }

    fn call(&mut self, context: &mut World, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.note(context, format!("{inputs:?}"));
        None
    }

    fn call_end(&mut self, context: &mut World, _: &CallInputs, outcome: &mut CallOutcome) {
        self.note(context, format!("{outcome:?}"));
    }

    fn create(&mut self, context: &mut World, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.note(context, format!("{inputs:?}"));
        None
    }

    fn create_end(&mut self, context: &mut World, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.note(context, format!("{outcome:?}"));
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        let line = format!("destroyed {contract}, {value} to {target}");
        self.lines.push(line);
    }
}

/// The EVM of this setup with an inspector.
fn inspected<I: Inspector<World>>(setup: &Setup, inspector: I) -> MainnetEvm<World, I> {
    let mut database = Recorder::new(Arc::clone(&setup.state));
    database.fault = setup.fault;
    world(setup.spec_id, database).build_mainnet_with_inspector(inspector)
}

/// Runs it under [`Events`], interpreted and natively, and compares. Says what was seen.
fn check(setup: &Setup, at_log: AtLog, backend: &JitBackend) -> (Seen, Vec<String>) {
    let events = Events {
        at_log,
        ..Events::default()
    };
    let mut plain = inspected(setup, events.clone());
    let expected = see(&mut plain, |evm| evm.inspect_one_tx(setup.tx.clone()));
    let mut jit = JitEvm::new(inspected(setup, CallsOnly(events)), backend.clone());
    let found = see(&mut jit, |evm| evm.inspect_one_tx(setup.tx.clone()));
    let events = jit.into_inner().inspector.0;
    assert_eq!(plain.inspector, events, "{:?} {at_log:?}", setup.spec_id);
    assert_eq!(expected, found, "{:?} {at_log:?}", setup.spec_id);
    (expected, events.lines)
}

#[test]
fn events_of_calls_creates_logs_and_self_destructions() {
    let backend = backend();
    let own = [
        ("LOG0, without gas", "l: 0 0 LOG0 @l JUMP"),
        (
            "logs",
            "7 0 MSTORE 1 2 32 0 LOG2 GAS 0 MSTORE 3 32 0 LOG1 5 POP",
        ),
        ("SELFDESTRUCT", "1 2 3 0 0 LOG1 0xa7 SELFDESTRUCT"),
        ("SELFDESTRUCT to itself", "ADDRESS SELFDESTRUCT"),
        ("SELFDESTRUCT, too little gas", "0xaf SELFDESTRUCT"),
        (
            "of a callee, twice",
            "0 0 0 0 9 0xa6 GAS CALL 0 0 0 0 1 0xa6 GAS CALL 0 0 LOG0",
        ),
        (
            "a log in a static call",
            "0 0 0 0 0xa4 90000 STATICCALL 0 0 LOG0",
        ),
        (
            "a log, then failure",
            "9 0 0 LOG1 0 0 0 0 0xa4 90000 CALL INVALID",
        ),
        ("a precompile", "0 0 32 0 1 4 50000 CALL 0 0 LOG0"),
        // Init code that logs and destroys itself.
        (
            "a create",
            "0x60006000a033ff 0 MSTORE 7 25 3 CREATE 32 0 LOG0",
        ),
    ];
    let mut kinds = [("destroyed", 0), ("Log {", 0), ("CreateInputs", 0)];
    for (name, text) in CALLS.iter().chain(&own) {
        for spec_id in [
            SpecId::HOMESTEAD,
            SpecId::LONDON,
            SpecId::CANCUN,
            SpecId::OSAKA,
            SpecId::AMSTERDAM,
        ] {
            for gas in [30_000, 60_000, 400_000] {
                let setup = Setup::of(&Case::asm(text).on(spec_id).gas(gas).value(3));
                let (_, lines) = check(&setup, AtLog::Nothing, &backend);
                for (kind, count) in &mut kinds {
                    *count += lines.iter().filter(|line| line.contains(*kind)).count();
                }
                assert!(spec_id == SpecId::AMSTERDAM || !lines.is_empty(), "{name}");
            }
        }
    }
    assert!(kinds.iter().all(|&(_, count)| count > 20), "{kinds:?}");
    let stats = backend.stats();
    assert!(stats.hits as usize > 3 * CALLS.len(), "{stats:?}");
}

#[test]
fn events_of_generated_programs() {
    let backend = backend();
    let mut logs = 0;
    for seed in 0..800 {
        let mut case = generate::program(0x6000_0000 + seed).case();
        case.gas_limit = case.gas_limit.min(10_000_000) + 30_000;
        let (_, lines) = check(&Setup::of(&case), AtLog::Nothing, &backend);
        logs += lines
            .iter()
            .filter(|line| line.starts_with("Log {"))
            .count();
    }
    assert!(logs > 100, "{logs}");
}

/// An inspector that does things to the frame is obeyed as by the interpreter.
#[test]
fn inspectors_that_meddle_at_a_log() {
    let backend = backend();
    let text = "7 0 MSTORE 1 2 3 32 0 LOG2 GAS 32 MSTORE DUP1 JUMPDEST JUMPDEST ADD MSIZE 64 MSTORE \
        @l 9 32 0 LOG1 JUMP l: JUMPDEST 3 SHL 5 64 MLOAD ADD 1 SSTORE 96 0 RETURN";
    for at_log in [
        AtLog::Nothing,
        AtLog::Halt,
        AtLog::Gas,
        AtLog::Push,
        AtLog::Grow,
        AtLog::Jump,
        AtLog::Words,
        AtLog::Fork,
    ] {
        for spec_id in [SpecId::BERLIN, SpecId::OSAKA, SpecId::AMSTERDAM] {
            for gas in (22_000..30_000).step_by(97).chain([300_000]) {
                let setup = Setup::of(&Case::asm(text).on(spec_id).gas(gas));
                let (seen, _) = check(&setup, at_log, &backend);
                let halts = at_log == AtLog::Halt && gas == 300_000;
                let succeeds = matches!(&seen.result, Ok(Ok(result)) if result.is_success());
                assert!(!halts || !succeeds, "{seen:?}");
            }
        }
        for seed in 0..60 {
            let mut case = generate::program(0x5000_0000 + seed).case();
            case.gas_limit = case.gas_limit.min(10_000_000) + 30_000;
            check(&Setup::of(&case), at_log, &backend);
        }
    }
}

#[test]
fn who_calls_may_be_another_behind_a_log() {
    let backend = backend();
    // What was pushed before stays what it was.
    let text = "CALLER ADDRESS CALLVALUE 9 32 0 LOG1 0 MSTORE 32 MSTORE 64 MSTORE \
        CALLER 96 MSTORE ADDRESS 128 MSTORE CALLVALUE 160 MSTORE 192 0 RETURN";
    let setup = Setup::of(&Case::asm(text).value(5));
    let results = [AtLog::Nothing, AtLog::Input].map(|at_log| check(&setup, at_log, &backend).0);
    assert_ne!(results[0], results[1]);
    assert!(backend.stats().hits >= 2);
}

/// Databases that fail or panic under an inspector.
#[test]
fn faults_under_an_inspector() {
    use crate::common::database::Fault;
    let backend = backend();
    let text = "1 SLOAD POP 0 0 LOG0 0xa1 BALANCE POP 0 0 32 0 0 0xa4 90000 CALL 0xa6 SELFDESTRUCT";
    for read in 0..10 {
        for fault in [Fault::Error, Fault::Panic] {
            let case = Case::asm(text).gas(900_000).fault(read, fault);
            check(&Setup::of(&case), AtLog::Nothing, &backend);
        }
    }
}

/// The promise counts for the EVM's inspector as a whole; and it alone lets frames run natively.
#[test]
fn a_promise_about_a_part_is_none() {
    let backend = backend();
    let setup = Setup::of(&Case::asm("7 0 MSTORE 0 0 LOG0 1 2 ADD").gas(100_000));
    setup.check("compiled", &backend);
    let hits = || backend.stats().hits;
    let steps = |scribe: &Scribe| scribe.0.len();

    let mut plain = inspected(&setup, Scribe::default());
    let expected = see(&mut plain, |evm| evm.inspect_one_tx(setup.tx.clone()));
    let before = hits();

    let pair = (CallsOnly(Events::default()), Scribe::default());
    let mut jit = JitEvm::new(inspected(&setup, pair), backend.clone());
    let found = see(&mut jit, |evm| evm.inspect_one_tx(setup.tx.clone()));
    assert_eq!(expected, found);
    let (events, scribe) = jit.into_inner().inspector;
    assert_eq!((hits(), scribe == plain.inspector), (before, true));
    assert!(!events.0.lines.is_empty() && steps(&scribe) > 5);

    // One behind a reference is shown no steps, and another type than what it refers to.
    let mut inner = CallsOnly(Scribe::default());
    let mut jit = JitEvm::new(inspected(&setup, &mut inner), backend.clone());
    let found = see(&mut jit, |evm| evm.inspect_one_tx(setup.tx.clone()));
    assert_eq!((&found, hits()), (&expected, before));
    drop(jit);
    assert!(steps(&inner.0) < steps(&plain.inspector));

    // With a reference inside, whose lifetime is nobody's business.
    let mut scribe = Scribe::default();
    let outer = CallsOnly(&mut scribe);
    let mut jit = JitEvm::new(inspected(&setup, outer), backend.clone());
    let found = see(&mut jit, |evm| evm.inspect_one_tx(setup.tx.clone()));
    assert_eq!(found, expected);
    assert!(hits() > before);
    drop(jit);
    assert_eq!(scribe, inner.0);
}

#[test]
fn an_inspector_sees_every_step() {
    let backend = backend();
    let text =
        "l: GAS POP 0 0 32 0 0 0xa9 90000 CALL 1 0 0 CREATE 0xa1 BALANCE 5 9 SSTORE 0 0 LOG0";
    for spec_id in [SpecId::BERLIN, SpecId::OSAKA, SpecId::AMSTERDAM] {
        let setup = Setup::of(&Case::asm(text).on(spec_id).gas(700_000));
        // So that there are programs for all of it.
        setup.check("without an inspector", &backend);
        let evm = || {
            let world = world(spec_id, Recorder::new(Arc::clone(&setup.state)));
            world.build_mainnet_with_inspector(Scribe::default())
        };
        let (mut plain, mut jit) = (evm(), JitEvm::new(evm(), backend.clone()));
        jit.set_inspector(Scribe::default());
        let hits = backend.stats().hits;
        let expected = see(&mut plain, |evm| evm.inspect_one_tx(setup.tx.clone()));
        let found = see(&mut jit, |evm| evm.inspect_one_tx(setup.tx.clone()));
        assert_eq!(expected, found);
        let expected = see(&mut plain, |evm| {
            evm.inspect_one_system_call(CONTRACT, Bytes::new())
        });
        let found = see(&mut jit, |evm| {
            evm.inspect_one_system_call(CONTRACT, Bytes::new())
        });
        assert_eq!(expected, found);
        assert_eq!(backend.stats().hits, hits);
        let (expected, found) = (plain.inspector, jit.into_inner().inspector);
        assert!(expected.0.len() > 50, "{}", expected.0.len());
        assert_eq!(expected, found);
        assert_eq!(
            setup.interpreted().state,
            setup.check("after it", &backend).state
        );
    }
}
