"""One of our models as a model of lm-eval. Imports lm-eval, an optional package; `harness` says so where it is missing.

The answers are those of the harness's own backend `hf` on the exported folder: the same tokens, the same cut to the
context, the same sums. What is saved: a row that several requests share is read once, and logits are computed only
where one is asked for.

Shape suffixes: B rows, T positions, N scored positions, E values asked for, n those of one piece, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from procray.downstream.items import padded
from procray.downstream.score import logits_of
from procray.errors import ProcrayError
from procray.model import Network

GENERATED = 256  # tokens where a task does not say how many, as in the harness
Request = tuple[list[int], list[int]]  # the tokens of a context and of what follows it


class ProcrayLM(TemplateLM):
    """A model with its tokenizer.

    Args:
        tokenizer: of the tokenizers library, as `exported_tokenizer.tokenizer_files` describes it.
        end: the token that stands between documents.

    Attributes:
        cut: requests whose context was longer than the model's, so that its beginning was left out.
    """

    def __init__(self, model: Network, tokenizer: Any, end: int):
        super().__init__()
        self.network = model
        self.library = tokenizer
        self.end = end
        self.cut = 0

    @property
    def eot_token_id(self) -> int:
        return self.end

    @property
    def max_length(self) -> int:
        return self.network.config.context

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        found: list[int] = self.library.encode(string).ids
        return found

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        pairs = [_spaces_to_the_right(*request.args) for request in requests]
        texts = list(dict.fromkeys(text for context, ending in pairs for text in (context, context + ending) if text))
        tokens = dict(zip(texts, (one.ids for one in self.library.encode_batch_fast(texts)), strict=True))
        asked: list[Request] = []
        for context, ending in pairs:
            whole = tokens[context + ending]
            if context:
                before = tokens[context]
                asked.append((before, whole[len(before) :]))
            elif whole[0] == self.end:
                asked.append((whole[:1], whole[1:]))
            else:
                asked.append(([self.end], whole))
        answers = self._loglikelihood_tokens(asked)
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return answers

    def _loglikelihood_tokens(self, requests: Sequence[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        """The sum of log-probabilities of what follows each context, and whether all of its tokens rank first."""
        most = self.max_length
        rows: dict[tuple[int, ...], int] = {}  # the tokens that are read, and the number of the row
        row_R, length_R, counts = [], [], []
        targets: list[int] = []
        for context, ending in requests:
            if not ending or len(ending) > most:
                raise ProcrayError(
                    f"a task asks for {len(ending)} tokens behind a context; the model has {most} positions, so it can "
                    f"be asked for 1 to {most}"
                )
            whole = [*context, *ending]
            self.cut += len(whole) > most + 1
            read = tuple(whole[-(most + 1) : -1])
            row_R.append(rows.setdefault(read, len(rows)))
            length_R.append(len(read))
            counts.append(len(ending))
            targets += ending
        logp_E, first_E = self._asked(list(rows), np.array(row_R), np.array(length_R), np.array(counts), targets)
        starts = np.cumsum(counts) - np.array(counts)
        sums, greedy = np.add.reduceat(logp_E, starts), np.logical_and.reduceat(first_E, starts)
        return list(zip(sums.tolist(), greedy.tolist(), strict=True))

    def _asked(
        self,
        rows: list[tuple[int, ...]],
        row_R: np.ndarray,
        length_R: np.ndarray,
        counts_R: np.ndarray,
        targets: list[int],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-probability of every target and whether it ranks first; the end of a row predicts a request's targets."""
        total = int(counts_R.sum())
        within_E = np.arange(total) - np.repeat(counts_R.cumsum() - counts_R, counts_R)
        place_E = np.repeat(length_R - counts_R, counts_R) + within_E + 1  # of the token that is predicted
        row_E = np.repeat(row_R, counts_R)
        tokens_BT, _ = padded([np.array([*row, 0]) for row in rows], [1] * len(rows))
        scored_BT = np.zeros(tokens_BT.shape, bool)
        scored_BT[row_E, place_E] = True
        number_E = (scored_BT.cumsum().reshape(scored_BT.shape) - 1)[row_E, place_E]
        order_E = np.argsort(number_E, kind="stable")
        edges_N = np.searchsorted(number_E[order_E], np.arange(scored_BT.sum() + 1))
        target_E = np.array(targets)
        logp_E, first_E = np.empty(total), np.empty(total, bool)
        for numbers_n, logits_nV in logits_of(self.network, tokens_BT, scored_BT):
            several_n = edges_N[numbers_n + 1] - edges_N[numbers_n]
            here = np.repeat(np.arange(len(numbers_n)), several_n)
            offset = np.arange(len(here)) - np.repeat(several_n.cumsum() - several_n, several_n)
            entries = order_E[edges_N[numbers_n][here] + offset]
            place, wanted = torch.from_numpy(here).to(logits_nV.device), torch.from_numpy(target_E[entries])
            wanted = wanted.to(logits_nV.device)
            logp = logits_nV[place, wanted] - logits_nV.logsumexp(1)[place]
            logp_E[entries] = logp.double().cpu()
            first_E[entries] = (logits_nV.argmax(1)[place] == wanted).cpu()
        return logp_E, first_E

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        asked: list[Request] = []
        counts = []
        for request in requests:
            (text,) = request.args
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(text), prefix_token=self.end, max_seq_len=self.max_length, context_len=1
            )
            found = [make_disjoint_window(window) for window in windows]
            asked += found
            counts.append(len(found))
        sums = np.array([logp for logp, _ in self._loglikelihood_tokens(asked)] if asked else [])
        answers = [float(part.sum()) for part in np.split(sums, np.cumsum(counts)[:-1])]
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, answer)
        return answers

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The likeliest token after the other, up to a stop sequence or as many as a task wants."""
        answers = []
        for request in requests:
            context, given = request.args
            answers.append(self._generate(context, given))
            self.cache_hook.add_partial("generate_until", (context, given), answers[-1])
        return answers

    @torch.no_grad()
    def _generate(self, context: str, given: dict[str, Any]) -> str:
        settings: dict[str, Any] = dict(normalize_gen_kwargs(dict(given), GENERATED))
        if settings.get("do_sample"):
            raise ProcrayError("a task asks for sampled text, and only the likeliest is generated here")
        most = settings["max_gen_toks"]
        room = generation_room(most, self.max_length)
        stops = handle_stop_sequences(
            settings.get("until"), eos=self.library.decode([self.end], skip_special_tokens=False)
        )
        tokens = self.tok_encode(context)
        self.cut += len(tokens) > room
        tokens = tokens[-room:]
        device = next(self.network.parameters()).device
        made: list[int] = []
        text = ""
        self.network.eval()
        for _ in range(most):
            read_1T = torch.tensor([[*tokens, *made]], device=device)
            x_1D = self.network.hidden(read_1T, torch.tensor([read_1T.shape[1] - 1], device=device))
            made.append(int(self.network.unembed(x_1D)[0].argmax()))
            if made[-1] == self.end:
                break
            text = self.library.decode(made)
            if any(stop and stop in text for stop in stops):
                break
        found: str = postprocess_generated_text(self.library.decode(made), stops, None)
        return found


def generation_room(most: int, context: int) -> int:
    """The tokens of a prompt that a model can read when `most` are to follow.

    Raises:
        ProcrayError: none.
    """
    if most >= context:
        raise ProcrayError(f"{most} tokens are to be generated, and the model has {context} positions, prompt included")
    return context - most


def _spaces_to_the_right(context: str, ending: str) -> tuple[str, str]:
    """White space at the end of a context belongs to what follows, as in the harness."""
    cut = len(context.rstrip())
    return context[:cut], context[cut:] + ending
