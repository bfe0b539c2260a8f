//! The standards of caching, clause by clause, from outside: what a shared cache can be seen to keep or break.
//!
//! A case is a list of steps: a request, what the origin answers if it is asked, and what the client must get. The
//! files are by section; `docs/rfc9111.md` names their tests. What a test says of the core alone is in `src/cache/`.

mod age;
mod bodies;
mod case;
mod collapsing;
mod conditions;
mod credentials;
mod freshness;
mod head;
mod heuristics;
mod interim;
mod invalidation;
mod keys;
mod ranges;
mod request;
mod rows;
mod stage;
mod stale;
mod status;
mod statuses;
mod storing;
mod targeted;
mod updating;
mod validation;
mod vary;

use case::{Step, case, get, ok, request, response};
use rows::{Again, rows};
use stage::Stage;
