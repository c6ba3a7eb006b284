//! What whole transactions on revm cost, with and without native code.
//!
//! `cargo bench --features revm --bench transactions [-- --json FILE]`
//!
//! The calls of `examples/quickstart` as transactions: validation, the journal, gas refunds and
//! nested calls are revm's own in every column, and only call frames differ. The first row, a
//! transfer to an account without code, shows what revm costs where there is nothing to compile.
//! Before anything is timed, result and state are compared with revm alone.

#[path = "../tests/common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../examples/quickstart/contracts.rs"]
mod contracts;
mod harness;

use common::driver::Message;
use common::world::World;
use harness::Session;
use harness::contender::{Contender, take_turns};
use harness::report::Table;
use revmc_jit::evm::handle_register;
use revmc_jit::evm::revm::primitives::{
    AccountInfo, Address, Env, ResultAndState, SpecId, TxKind, U256,
};
use revmc_jit::evm::revm::{Evm, InMemoryDB};
use revmc_jit::primitives::OptimizationLevel;
use revmc_jit::{JitBackend, RuntimeConfig};
use std::process::ExitCode;
use std::time::Instant;

/// More than any transaction here costs.
const BALANCE: U256 = U256::from_limbs([0, 1 << 32, 0, 0]);

/// The state of the world as a database of revm.
fn database(world: &World, caller: Address) -> InMemoryDB {
    let mut db = InMemoryDB::default();
    for (&address, account) in &world.state.accounts {
        let code = account.code.clone();
        let info = AccountInfo::new(account.balance, account.nonce, account.code_hash, code);
        db.insert_account_info(address, info);
        for (&key, slot) in &account.storage {
            db.insert_account_storage(address, key, slot.present)
                .expect("a database in memory has no errors");
        }
    }
    let sender = db.accounts.entry(caller).or_default();
    sender.info.balance = BALANCE;
    db
}

fn environment(world: &World, message: &Message) -> Box<Env> {
    let mut env = world.env.clone();
    env.tx = Default::default();
    env.tx.caller = message.caller;
    env.tx.transact_to = TxKind::Call(message.to);
    env.tx.value = message.value;
    env.tx.data = message.input.clone();
    env.tx.gas_limit = message.gas_limit;
    env.tx.gas_price = env.block.basefee;
    env
}

fn evm<'a>(db: InMemoryDB, env: Box<Env>, backend: Option<&JitBackend>) -> Evm<'a, (), InMemoryDB> {
    let builder = Evm::builder()
        .with_db(db)
        .with_env(env)
        .with_spec_id(SpecId::CANCUN);
    match backend {
        Some(backend) => builder
            .append_handler_register_box(handle_register(backend.clone()))
            .build(),
        None => builder.build(),
    }
}

/// A backend in which whatever was called once is native, at one tier.
fn backend(level: OptimizationLevel) -> JitBackend {
    let mut config = RuntimeConfig::default();
    config.blocking = true;
    config.tuning.jit_tiered = false;
    config.tuning.jit_opt_level = level;
    JitBackend::new(config).expect("a blocking backend")
}

/// Makes the transaction again and again on the same state.
fn contender<'a>(
    name: &str,
    db: &InMemoryDB,
    env: &Env,
    backend: Option<&'a JitBackend>,
) -> Contender<'a> {
    let (db, env) = (db.clone(), env.clone());
    let run = move |_: usize, _: usize, n: usize| {
        let mut evm = evm(db.clone(), Box::new(env.clone()), backend);
        let begin = Instant::now();
        for _ in 0..n {
            std::hint::black_box(evm.transact().expect("it ran before"));
        }
        begin.elapsed()
    };
    Contender::new(name, 1, Box::new(run))
}

fn row(session: &Session, table: &mut Table, name: &str, world: &World, message: &Message) {
    let (db, env) = (database(world, message.caller), environment(world, message));
    let outcome = |backend: Option<&JitBackend>| -> Result<ResultAndState, String> {
        evm(db.clone(), env.clone(), backend)
            .transact()
            .map_err(|error| format!("{error:?}"))
    };
    let levels = [OptimizationLevel::None, OptimizationLevel::Default];
    let backends = levels.map(backend);
    let plain = outcome(None);
    for backend in &backends {
        if plain.is_err() || outcome(Some(backend)) != plain {
            println!("{name}: not timed: {plain:?}, natively another result");
            return;
        }
    }
    let [first, second] = &backends;
    let mut contenders = [
        contender("revm", &db, &env, None),
        contender("tier 1", &db, &env, Some(first)),
        contender("tier 2", &db, &env, Some(second)),
    ];
    take_turns(session.effort, &mut contenders);
    let [plain, native @ ..] = &contenders;
    let mut cells: Vec<_> = contenders.iter().map(Contender::median).collect();
    cells.extend(native.iter().map(|native| plain.ratio_to(native)));
    table.row(name, &cells);
}

fn transactions(session: &mut Session) {
    let columns = [
        "revm, ns",
        "tier 1, ns",
        "tier 2, ns",
        "tier 1, x faster",
        "tier 2, x faster",
    ];
    let mut table =
        Table::new("one transaction, contracts of examples/contracts", &columns).chart(4);
    let scenarios = contracts::scenarios();
    if let Some((_, call)) = scenarios.first().and_then(|token| token.calls.first()) {
        let transfer = Message {
            to: Address::repeat_byte(0x77),
            input: Default::default(),
            ..call.clone()
        };
        row(
            session,
            &mut table,
            "transfer",
            &scenarios[0].world,
            &transfer,
        );
    }
    for scenario in &scenarios {
        for (name, message) in &scenario.calls {
            let name = format!("{}: {name}", scenario.file);
            row(session, &mut table, &name, &scenario.world, message);
        }
    }
    session.add(table);
}

fn main() -> ExitCode {
    harness::run("transactions", &[("transactions", transactions)])
}
