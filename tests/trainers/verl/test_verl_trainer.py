"""The trainer in the driver: verl's own code and a real transfer queue on a local Ray cluster.

verl's training workers need an accelerator. In their place stands one in this process, which takes its batch
from the real queue through verl's own bridge, trains a small table policy with the loss function that the
trainer hands it, micro-batch by micro-batch, and returns its metrics as verl's worker does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import entropylab as el

torch = pytest.importorskip("torch")
ROWS, VOCABULARY, PROMPT = 12, 11, 2


@pytest.fixture(scope="module")
def queue(verl):
    """A transfer queue on a local Ray cluster."""
    ray, tq = pytest.importorskip("ray"), pytest.importorskip("transfer_queue")
    pytest.importorskip("torchdata")
    from omegaconf import OmegaConf

    config = Path(verl.__file__).parent / "trainer" / "config" / "transfer_queue" / "transfer_queue.yaml"
    settings = OmegaConf.load(config)
    settings.backend.SimpleStorage.num_data_storage_units = 1
    os.environ.setdefault("RAY_worker_niceness", "0")  # nice 15 starves them on a machine that is busy
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    tq.init(settings)
    yield tq
    tq.close()
    ray.shutdown()


class TableWorker:
    """Stands for verl's actor workers."""

    def __init__(self, config):
        from functools import partial

        from verl.workers.utils.losses import ppo_loss

        self.logits = torch.nn.Parameter(torch.zeros(VOCABULARY, VOCABULARY))
        self.loss_fn, self.config = partial(ppo_loss, config=config), config
        self.seen = []

    def set_loss_fn(self, loss_fn):
        self.loss_fn = loss_fn

    def logprobs(self, data):
        rows = []
        for prompt, response in zip(data["prompts"].unbind(), data["responses"].unbind(), strict=True):
            tokens = torch.cat([prompt, response])
            inside = self.logits.log_softmax(-1)[tokens[:-1], tokens[1:]]
            rows.append(torch.cat([inside, torch.zeros(1)]))
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)

    def update_actor(self, batch):
        from verl.utils import tensordict_utils as tu
        from verl.utils.transferqueue_utils import tqbridge

        return tqbridge()(lambda data: tu.get_tensordict({}, {"metrics": self.train(data)}))(batch)

    def train(self, data):
        from verl.utils import tensordict_utils as tu

        tokens = int(data["response_mask"].values().sum())
        tu.assign_non_tensor(data, dp_size=1, batch_num_tokens=tokens, global_batch_size=ROWS)
        found = {}
        for piece in tu.chunk_tensordict(data, ROWS // 3):
            loss, metrics = self.loss_fn(model_output={"log_probs": self.logprobs(piece)}, data=piece)
            loss.backward()
            for name, metric in metrics.items():
                found.setdefault(name, metric.init_list()).append(metric)
        self.seen.append({name: list(metric.values) for name, metric in found.items()})
        return {name: [metric.aggregate()] for name, metric in found.items()} | {"mfu": [0.0]}


def full_config(folder, loss_mode, **more):
    """verl's own trainer config, as its command line composes it."""
    hydra = pytest.importorskip("hydra")
    import verl

    with hydra.initialize_config_dir(
        str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None
    ):
        given = {"kl_cov_ratio": 0.05, "ppo_kl_coef": 1.0, "clip_cov_ratio": 0.05, "clip_cov_lb": 0.1}
        policy = [f"actor_rollout_ref.actor.policy_loss.{name}={value}" for name, value in given.items()]
        return hydra.compose(
            "ppo_trainer",
            overrides=[
                f"actor_rollout_ref.actor.policy_loss.loss_mode={loss_mode}",
                "trainer.v1.trainer_mode=entropylab_sync",
                "actor_rollout_ref.actor.use_dynamic_bsz=true",
                f"+entropylab.path={folder}",
                *policy,
                *(f"+entropylab.{name}={value}" for name, value in more.items()),
            ],
        )


def make_trainer(config):
    """The registered trainer with a worker, without verl's set-up of GPUs and inference servers."""
    from verl.trainer.ppo.v1 import get_trainer_cls
    from verl.utils.config import omega_conf_to_dataclass

    trainer = get_trainer_cls("entropylab_sync")(config)
    trainer.actor_rollout_wg = TableWorker(omega_conf_to_dataclass(config.actor_rollout_ref.actor))
    trainer.global_steps, trainer.val_dataset = 3, [0] * 50
    trainer.tokenizer = SimpleNamespace(batch_decode=lambda rows, **_: [" ".join(map(str, r)) for r in rows])
    return trainer


def put_batch(tq, trainer):
    """A rollout in the queue, as verl leaves it before the actor's update."""
    from tensordict import TensorDict
    from tensordict.tensorclass import NonTensorStack

    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(4, 20, (ROWS,), generator=g).tolist()

    def nested(make):
        return torch.nested.as_nested_tensor([make(n) for n in lengths], layout=torch.jagged)

    scores = iter(torch.randn(ROWS, generator=g).tolist())
    fields = {
        "prompts": torch.nested.as_nested_tensor([torch.ones(PROMPT).long()] * ROWS, layout=torch.jagged),
        "responses": nested(lambda n: torch.randint(0, VOCABULARY, (n,), generator=g)),
        "response_mask": nested(lambda n: torch.ones(n).long()),
        "old_log_probs": nested(lambda n: -2.4 + 0.5 * torch.randn(n, generator=g)),
        "advantages": nested(lambda n: torch.full((n,), next(scores))),
        "entropy": nested(lambda n: torch.rand(n, generator=g)),
        "rm_scores": nested(lambda n: torch.eye(n)[-1]),
        "uid": NonTensorStack(*[f"prompt-{row // 4}" for row in range(ROWS)]),
    }
    keys = [f"step{trainer.global_steps}-row{row}" for row in range(ROWS)]
    tags = [{} for _ in keys]
    return tq.kv_batch_put(
        keys=keys, partition_id="train", fields=TensorDict(fields, batch_size=ROWS), tags=tags
    )


def one_step(tq, trainer, metrics):
    batch = put_batch(tq, trainer)
    trainer._update_actor(batch, metrics)
    tq.kv_clear(keys=batch.keys, partition_id="train")


@pytest.mark.parametrize("loss", ["clip_cov", "kl_cov"])
def test_a_step_chooses_on_the_whole_batch_and_records_what_was_chosen(queue, tmp_path, loss):
    trainer = make_trainer(full_config(tmp_path / "run", f"entropylab_{loss}", texts="true"))
    trainer.give_loss()
    metrics: dict = {}
    with trainer.open_recorder() as trainer.entropylab_recorder:
        one_step(queue, trainer, metrics)
        trainer.entropylab_recorder.evaluate(3, metric="accuracy", value=0.5, n=50)
    run = el.open_run(tmp_path / "run")
    assert run.problems() == []
    assert run.method == f"entropylab_{loss}"
    assert run.config["chosen_on"] == "batch"
    assert run.config["control"]["covariance_on"] == "old"
    tokens = next(run.tokens()).to_pandas()
    chosen = int(tokens["selected"].sum())
    assert chosen == max(1, int(0.05 * len(tokens)))
    seen = trainer.actor_rollout_wg.seen[0]["entropylab/selected/count"]
    assert (len(seen), sum(seen)) == (4, chosen)
    step = run.steps().iloc[0]
    assert step["step"] == 3
    assert step["metrics/actor/pg_loss"] == pytest.approx(metrics["actor/pg_loss"])
    assert step["selected_count"] == chosen == metrics["entropylab/selected/count"]
    assert next(run.responses()).to_pandas()["prompt_id"].nunique() == 3
    if loss == "kl_cov":
        l, a = tokens["logprob"].astype(float), tokens["advantage"].astype(float)
        top = np.argsort(-((l - l.mean()) * (a - a.mean())).to_numpy())[:chosen]
        assert set(top) == set(np.flatnonzero(tokens["selected"]))


def test_gradients_are_those_of_one_policy_loss_over_the_whole_batch(queue, tmp_path):
    trainer = make_trainer(full_config(tmp_path / "run", "entropylab_kl_cov"))
    trainer.give_loss()
    with trainer.open_recorder() as trainer.entropylab_recorder:
        one_step(queue, trainer, {})
    worker = trainer.actor_rollout_wg
    table = next(el.open_run(tmp_path / "run").responses()).to_pandas()
    assert len(table) == ROWS
    found = worker.logits.grad.clone()
    worker.logits.grad = None
    batch = put_batch(queue, trainer)
    data = queue.kv_batch_get(keys=batch.keys, partition_id="train")
    rows = worker.logprobs(data).unbind()
    current = [row[PROMPT - 1 : -1] for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    old, advantages = (pad(data[n].unbind(), batch_first=True) for n in ("old_log_probs", "advantages"))
    mask = pad(data["response_mask"].unbind(), batch_first=True)
    control = el.KLCov(fraction=0.05, beta=1.0, covariance_on="old")
    el.policy_loss(
        pad(current, batch_first=True),
        old,
        advantages,
        mask,
        surrogate=el.ImportanceSampling(),
        control=control,
    ).loss.backward()
    torch.testing.assert_close(found, worker.logits.grad, rtol=1e-4, atol=1e-7)


def test_with_verls_own_loss_nothing_of_the_training_changes(queue, tmp_path):
    trainer = make_trainer(full_config(tmp_path / "run", "vanilla"))
    trainer.give_loss()
    with trainer.open_recorder() as trainer.entropylab_recorder:
        one_step(queue, trainer, {})
    plain = make_trainer(full_config(tmp_path / "other", "vanilla"))
    batch = put_batch(queue, plain)
    super(type(plain), plain)._update_actor(batch, {})
    assert torch.equal(trainer.actor_rollout_wg.logits.grad, plain.actor_rollout_wg.logits.grad)
    run = el.open_run(tmp_path / "run")
    assert run.config["control"] is None
    assert not next(run.tokens()).to_pandas()["selected"].any()


def test_verls_code_takes_it_for_its_synchronous_trainer(queue, tmp_path):
    """verl compares ``trainer_mode`` with "sync" in several places; another name would mean asynchronous."""
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

    trainer = make_trainer(full_config(tmp_path / "run", "vanilla"))
    assert trainer.trainer_mode == "sync"
    assert type(trainer.replay_buffer) is ReplayBuffer


def test_a_wrong_key_is_refused_before_anything_starts(verl, tmp_path):
    pytest.importorskip("transfer_queue")
    from verl.trainer.ppo.v1 import get_trainer_cls

    with pytest.raises(el.EntropylabError, match="every_stp is no setting"):
        get_trainer_cls("entropylab_sync")(full_config(tmp_path / "run", "vanilla", every_stp=2))


def test_the_plugin_loads_in_the_order_in_which_verl_loads_it(verl):
    from entropylab.trainers.verl.registration import names_in_verl, registered

    assert registered().losses == names_in_verl().losses != ()
    if registered().trainer_error is None:
        assert "verl.trainer.ppo.v1.trainer_base" in sys.modules
        assert names_in_verl().trainer == "entropylab_sync"
