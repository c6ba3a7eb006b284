//! One run on one side, and what came of it.

use super::{
    calls::resume,
    host::{Event, Mover, Scripted},
    input::Input,
    rng::Rng,
    script::{CALLER, SELF, Script},
};
use crate::{panics::caught, program::CompiledProgram};
use alloy_primitives::{Bytes, U256};
use revm_interpreter::{
    CallInput, Gas, InputsImpl, Interpreter, InterpreterAction, SharedMemory, instruction_table,
    interpreter::{EthInterpreter, ExtBytecode},
    interpreter_types::{Jumps, LoopControl},
    primitives::hardfork::SpecId,
    state::Bytecode,
};
use std::{cell::RefCell, fmt, rc::Rc};

/// Calls and creates of one run, at most.
const MAX_CALLS: usize = 24;

/// Where the call's data is in its caller's memory.
const DATA_AT: usize = 32;

/// A frame when it ended, or waits for a call.
#[derive(Debug, PartialEq)]
pub(super) struct Stop {
    action: InterpreterAction,
    gas: Gas,
    stack: Vec<U256>,
    memory: Vec<u8>,
    pc: usize,
    return_data: Bytes,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    stops: Vec<Stop>,
    events: Vec<Event>,
    /// A panic's message, or why the program has refused the frame.
    broken: Option<String>,
}

impl Outcome {
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Gas that the frame has used to its last stop.
    pub(super) fn spent(&self) -> u64 {
        let gas = self.stops.last().map(|stop| stop.gas);
        gas.map_or(0, |gas| gas.limit().saturating_sub(gas.remaining()))
    }

    /// What of `found` is otherwise.
    pub(super) fn compare(&self, found: &Self) -> Result<(), String> {
        for (i, (expected, found)) in self.stops.iter().zip(&found.stops).enumerate() {
            expected
                .compare(found)
                .map_err(|what| format!("stop {i}: {what}"))?;
        }
        differ("a panic, or a refusal", &self.broken, &found.broken)?;
        for (i, (expected, found)) in self.events.iter().zip(&found.events).enumerate() {
            differ(&format!("question {i} to the host"), expected, found)?;
        }
        differ(
            "questions to the host",
            &self.events.len(),
            &found.events.len(),
        )?;
        differ("stops", &self.stops.len(), &found.stops.len())
    }
}

impl Stop {
    fn compare(&self, found: &Self) -> Result<(), String> {
        differ("action", &self.action, &found.action)?;
        differ("gas", &self.gas, &found.gas)?;
        differ("program counter", &self.pc, &found.pc)?;
        differ("stack", &self.stack, &found.stack)?;
        differ("return data", &self.return_data, &found.return_data)?;
        differ("bytes of memory", &self.memory.len(), &found.memory.len())?;
        let words = self.memory.chunks(32).zip(found.memory.chunks(32));
        for (i, (expected, found)) in words.enumerate() {
            differ(&format!("memory at {}", 32 * i), &expected, &found)?;
        }
        Ok(())
    }
}

/// Characters of a value in a description, at most.
const MAX_SHOWN: usize = 500;

fn differ<T: PartialEq + fmt::Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let show = |value: &T| {
        let text = format!("{value:?}");
        match text.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    };
    let (expected, found) = (show(expected), show(found));
    Err(format!("{what}: expected {expected}, found {found}"))
}

/// Instructions that were run, by program counter.
#[derive(Debug)]
pub(super) struct Coverage {
    seen: Vec<bool>,
    /// Those that the last run came by first.
    new: Vec<usize>,
}

impl Coverage {
    pub(super) fn new(code_len: usize) -> Self {
        Self {
            // With the padding that the interpreter adds.
            seen: vec![false; code_len + 64],
            new: Vec::new(),
        }
    }

    /// Before a run.
    pub(super) fn begin(&mut self) {
        self.new.clear();
    }

    /// Forgets what the last run came by first.
    pub(super) fn undo(&mut self) {
        for pc in self.new.drain(..) {
            self.seen[pc] = false;
        }
    }

    /// Whether the last run came by something new.
    pub(super) fn has_grown(&self) -> bool {
        !self.new.is_empty()
    }

    fn mark(&mut self, pc: usize) {
        if let Some(seen) = self.seen.get_mut(pc)
            && !*seen
        {
            *seen = true;
            self.new.push(pc);
        }
    }

    pub(super) fn covers(&self, pc: usize) -> bool {
        self.seen.get(pc).copied().unwrap_or(false)
    }
}

/// How the interpreter's run has ended.
pub(super) enum Ended {
    /// As the outcome says.
    With(Outcome),
    /// It did not, after so much gas.
    TooLong(u64),
}

/// A program with what all of its runs share.
pub(super) struct Bench<'a> {
    program: &'a CompiledProgram,
    bytecode: Bytecode,
    pub(super) script: Script,
    mover: Mover,
    buffer: Rc<RefCell<Vec<u8>>>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(program: &'a CompiledProgram, code: &Bytes, constants: Vec<U256>) -> Self {
        let buffer = Rc::new(RefCell::new(Vec::new()));
        Self {
            program,
            bytecode: Bytecode::new_legacy(code.clone()),
            script: Script::new(program.key().spec_id, constants),
            mover: Mover::new(Rc::clone(&buffer)),
            buffer,
        }
    }

    pub(super) fn spec_id(&self) -> SpecId {
        self.script.spec_id
    }

    /// The frame at its start, with its memory in `buffer`.
    fn frame(&self, input: &Input, buffer: Rc<RefCell<Vec<u8>>>) -> Interpreter<EthInterpreter> {
        buffer.borrow_mut().clear();
        let mut memory = SharedMemory::new_with_buffer(buffer);
        let data = if input.in_memory {
            let len = input.calldata.len();
            memory.resize((DATA_AT + len).next_multiple_of(32));
            memory.set(DATA_AT, &input.calldata);
            memory = memory.new_child_context();
            CallInput::SharedBuffer(DATA_AT..DATA_AT + len)
        } else {
            CallInput::Bytes(input.calldata.clone())
        };
        let key = self.program.key();
        let mut frame = Interpreter::new(
            memory,
            ExtBytecode::new_with_hash(self.bytecode.clone(), key.code_hash),
            InputsImpl {
                target_address: SELF,
                bytecode_address: Some(SELF),
                caller_address: CALLER,
                input: data,
                call_value: input.value,
                depth: 0,
            },
            input.is_static,
            key.spec_id,
            input.gas,
        );
        frame.gas = Gas::new_with_regular_gas_and_reservoir(input.gas, input.reservoir);
        frame
    }

    /// Runs a frame by `go` until it ends, with outcomes for its calls. `None` of `go`: it is left.
    fn run<'h>(
        &self,
        input: &Input,
        mut frame: Interpreter<EthInterpreter>,
        mut host: Scripted<'h>,
        mut go: impl FnMut(
            &mut Interpreter<EthInterpreter>,
            &mut Scripted<'h>,
        ) -> Result<InterpreterAction, String>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let stops = &mut outcome.stops;
        let ended = caught(|| {
            loop {
                let action = go(&mut frame, &mut host)?;
                stops.push(Stop {
                    action,
                    gas: frame.gas,
                    stack: frame.stack.data().clone(),
                    memory: frame.memory.context_memory().to_vec(),
                    pc: frame.bytecode.pc(),
                    return_data: frame.return_data.0.clone(),
                });
                let number = stops.len() as u64;
                match stops.last().map(|stop| &stop.action) {
                    Some(InterpreterAction::NewFrame(callee)) if stops.len() < MAX_CALLS => {
                        resume(&self.script, input.seed, number, &mut frame, callee);
                    }
                    _ => return Ok(()),
                }
            }
        });
        // R4.
        outcome.broken = match ended {
            Ok(ended) => ended.err(),
            Err(text) => Some(format!("panic: {text}")),
        };
        outcome.events = host.events.take();
        outcome
    }

    /// Runs the interpreter, step by step.
    pub(super) fn interpreted(
        &self,
        input: &Input,
        coverage: &mut Coverage,
        max_steps: usize,
    ) -> Ended {
        let frame = self.frame(input, Rc::default());
        let host = Scripted::new(&self.script, input.seed, input.fails_at, None);
        let (table, gas_table) = (instruction_table(), self.program.rules().gas());
        let mut steps = 0;
        let mut left_at = None;
        let outcome = self.run(input, frame, host, |frame, host| {
            loop {
                coverage.mark(frame.bytecode.pc());
                steps += 1;
                if steps > max_steps {
                    let gas = frame.gas;
                    left_at = Some(gas.limit().saturating_sub(gas.remaining()));
                    return Err(String::new());
                }
                if let Err(result) = frame.step(&table, gas_table, host) {
                    // As `Interpreter::run_plain`.
                    if frame.bytecode.action().is_none() {
                        frame.halt(result);
                    }
                    return Ok(frame.take_next_action());
                }
            }
        });
        match left_at {
            Some(gas) => Ended::TooLong(gas),
            None => Ended::With(outcome),
        }
    }

    /// Runs the program. Wherever the host is asked for the prices of memory, the memory moves.
    pub(super) fn native(&self, input: &Input) -> Outcome {
        let frame = self.frame(input, Rc::clone(&self.buffer));
        let mover = Some(&self.mover);
        let host = Scripted::new(&self.script, input.seed, input.fails_at, mover);
        let (table, gas_table) = (instruction_table(), self.program.rules().gas());
        let mut rng = input.switching.map(Rng::new);
        self.run(input, frame, host, |frame, host| {
            let ran = match &mut rng {
                Some(rng) => {
                    let switch = || rng.one_in(3);
                    self.program
                        .run_frame_switching(frame, &table, gas_table, host, switch)
                }
                None => self.program.run_frame(frame, &table, gas_table, host),
            };
            ran.map_err(|error| error.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::mainnet, *};
    use crate::compiler::Tier;

    #[test]
    fn a_panic_on_one_side_is_a_difference_and_goes_no_further() {
        let code = Bytes::from_static(&[0x60, 0x01, 0x00]);
        let program = mainnet(&code, SpecId::OSAKA, Tier::Baseline);
        let bench = Bench::new(&program, &code, Vec::new());
        let input = Input {
            gas: 100,
            ..Input::default()
        };
        let mut coverage = Coverage::new(code.len());
        let Ended::With(expected) = bench.interpreted(&input, &mut coverage, 10) else {
            panic!("two steps");
        };
        let frame = bench.frame(&input, Rc::default());
        let host = Scripted::new(&bench.script, 0, None, None);
        let panicked = bench.run(&input, frame, host, |_, _| panic!("planted"));
        assert!(panicked.is_broken() && !expected.is_broken());
        let what = expected.compare(&panicked).unwrap_err();
        assert!(what.contains("panic: planted"), "{what}");
        assert_eq!(expected.compare(&bench.native(&input)), Ok(()));
    }
}
