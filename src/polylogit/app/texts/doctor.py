"""The doctor's findings in the terminal, in English and Korean."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

_FINDINGS = {
    "en": {
        "nan": "{count} scores are not finite; the first is {value} in row {row}, class {class}.",
        "infinite": "{count} scores are not finite; the first is {value} in row {row}, class "
        "{class}: softmax of it is nan.",
        "log_of_zero": "{count} log-probabilities are -inf, the first in row {row}, class {class}: "
        "the log of a softmax that underflowed to 0.",
        "transposed": "The scores are {shape}, but there are {targets} targets: rows and classes "
        "are exchanged.",
        "wrong_dim": "Columns sum to {column_sum:.4g} and rows to {row_sum:.4g}: softmax was taken "
        "over the rows of the batch, not over the classes.",
        "probabilities_as_logits": "All {rows} rows are probabilities (they sum to 1), but the "
        "loss takes logits: softmax is applied twice.",
        "softmax_twice": "No probability is above {largest:.4g}, and all have the form that a "
        "second softmax gives: softmax was applied twice.",
        "log_probabilities_as_logits": "The rows are log-probabilities. cross_entropy takes "
        "log_softmax again, which changes nothing: redundant, not wrong.",
        "rows_alike": "All {rows} rows say the same: the model does not look at its input.",
        "column_of_labels": "The targets have shape {shape}; cross_entropy wants (N,).",
        "integer_one_hot": "The targets are one-hot rows of {dtype}; torch takes rows only as "
        "floating-point probabilities.",
        "float_labels": "The class numbers are {dtype}; torch wants whole numbers (int64).",
        "labels_from_one": "The labels go from {smallest} to {largest} for {classes} classes: they "
        "start at 1, torch counts from 0.",
        "labels_out_of_range": "{count} labels lie outside 0 to {classes} - 1 (from {smallest} to "
        "{largest}).",
        "targets_are_no_distributions": "Target row {row} sums to {sum:.4g} (smallest entry "
        "{least:.4g}); a distribution sums to 1 and has none below 0.",
        "all_ignored": "Every one of the {rows} targets is {ignore_index}, which the loss leaves "
        "out: the mean over nothing is nan.",
        "weighted_mean": "With class weights the mean divides by the weights of the rows "
        "({weights:.4g}), not by their number ({rows}).",
        "smoothing_with_weights": "With class weights, label smoothing ({label_smoothing:.4g}) "
        "weighs every class's share of the target, not the row.",
        "shared_bias": "The bias is a single number {shape}: it shifts all logits alike, softmax "
        "cannot see it, and it never learns.",
        "softmax_in_model": "The model ends in {layer}, and the loss takes softmax again.",
        "stuck_at_chance": "The last {losses} losses are ln K: the model guesses (last "
        "{last:.4g}).",
        "stuck_at_floor": "The last {losses} losses lie at the floor of two softmaxes (last "
        "{last:.4g}).",
    },
    "ko": {
        "nan": "유한하지 않은 점수가 {count}개 있다. 첫째는 {row}행 {class}번 클래스의 "
        "{value}이다.",
        "infinite": "유한하지 않은 점수가 {count}개 있다. 첫째는 {row}행 {class}번 클래스의 "
        "{value}이며, 그 소프트맥스는 nan이다.",
        "log_of_zero": "로그 확률 {count}개가 -inf이다. 첫째는 {row}행 {class}번 클래스이다. 0으로 "
        "사라진 소프트맥스에 로그를 취했다.",
        "transposed": "점수의 모양은 {shape}인데 정답은 {targets}개이다. 행과 클래스가 바뀌었다.",
        "wrong_dim": "열의 합이 {column_sum:.4g}, 행의 합이 {row_sum:.4g}이다. 소프트맥스를 "
        "클래스가 아니라 배치의 행 방향으로 취했다.",
        "probabilities_as_logits": "{rows}개 행이 모두 합이 1인 확률이다. 손실은 로짓을 받으므로 "
        "소프트맥스가 두 번 적용된다.",
        "softmax_twice": "가장 큰 확률이 {largest:.4g}에 그치고, 모두 두 번째 소프트맥스가 내는 "
        "꼴이다. 소프트맥스가 두 번 적용되었다.",
        "log_probabilities_as_logits": "행이 로그 확률이다. cross_entropy가 log_softmax를 다시 "
        "취하지만 값은 그대로이다. 군더더기일 뿐 틀린 것은 아니다.",
        "rows_alike": "{rows}개 행이 모두 같은 말을 한다. 모델이 입력을 보지 않는다.",
        "column_of_labels": "정답의 모양이 {shape}이다. cross_entropy는 (N,)을 받는다.",
        "integer_one_hot": "정답이 {dtype}형 원-핫 행이다. torch는 행을 실수형 확률로만 받는다.",
        "float_labels": "클래스 번호가 {dtype}형이다. torch는 정수(int64)를 받는다.",
        "labels_from_one": "클래스가 {classes}개인데 레이블은 {smallest}부터 {largest}까지이다. "
        "1부터 세었다. torch는 0부터 센다.",
        "labels_out_of_range": "레이블 {count}개가 0부터 {classes} - 1까지의 범위를 벗어났다"
        "({smallest}부터 {largest}까지).",
        "targets_are_no_distributions": "정답 {row}행의 합이 {sum:.4g}이다"
        "(가장 작은 값 {least:.4g}). 분포라면 합이 1이고 음수가 없어야 한다.",
        "all_ignored": "정답 {rows}개가 모두 손실이 건너뛰는 {ignore_index}이다. "
        "아무것도 없는 것의 평균은 nan이다.",
        "weighted_mean": "클래스 가중치가 있으면 평균은 행의 수({rows})가 아니라 행의 가중치 합"
        "({weights:.4g})으로 나눈다.",
        "smoothing_with_weights": "클래스 가중치가 있으면 레이블 스무딩({label_smoothing:.4g})은 "
        "행이 아니라 정답 분포의 몫마다 가중치를 매긴다.",
        "shared_bias": "편향이 수 하나{shape}뿐이다. 모든 로짓을 똑같이 밀 뿐이라 "
        "소프트맥스가 볼 수 없고, 배우지도 못한다.",
        "softmax_in_model": "모델이 {layer}(으)로 끝나는데 손실이 소프트맥스를 다시 취한다.",
        "stuck_at_chance": "마지막 손실 {losses}개가 ln K이다. 모델이 찍고 있다"
        "(마지막 {last:.4g}).",
        "stuck_at_floor": "마지막 손실 {losses}개가 소프트맥스 두 번의 바닥에 있다"
        "(마지막 {last:.4g}).",
    },
}
_TEXT = {
    "en": {
        "healthy": "Nothing wrong: {n_rows} rows of {n_classes} classes",
        "no_targets": "no targets were given, so only the scores were examined (--targets FILE)",
        "loss": "loss {loss:.6f} nats; chance is ln {n_classes} = {chance:.6f}",
        "error": "wrong",
        "warning": "beware",
        "note": "note",
        "write": "write",
        "effect": "here",
        "right": "right would be",
        "floor": "it cannot fall below",
        "by_rows": "weighed by rows",
        "most": "no probability can exceed",
        "chance": "chance",
        "of_loss": "loss",
    },
    "ko": {
        "healthy": "이상 없음: {n_rows}개 행, {n_classes}개 클래스",
        "no_targets": "정답이 없어 점수만 살펴보았다 (--targets FILE)",
        "loss": "손실 {loss:.6f}냇, 찍었을 때는 ln {n_classes} = {chance:.6f}",
        "error": "오류",
        "warning": "주의",
        "note": "참고",
        "write": "이렇게 쓴다",
        "effect": "여기서는",
        "right": "올바른 값",
        "floor": "이보다 작아질 수 없다",
        "by_rows": "행마다 매긴 값",
        "most": "확률이 이보다 클 수 없다",
        "chance": "찍었을 때",
        "of_loss": "손실",
    },
}
WORDS = {"findings": _FINDINGS, "text": _TEXT}


def draw(answer: dict[str, Any], lang: str) -> None:
    """Every finding with its effect here and the line to write; or that nothing is wrong."""
    console, words = Console(highlight=False, width=100_000), _TEXT[lang]
    lines = [line for finding in answer["findings"] for line in _lines(finding, lang)]
    if answer["healthy"]:
        lines.append(words["healthy"].format(**answer))
    if answer["loss"] is not None:
        lines.append(words["loss"].format(**answer))
    if not answer["with_targets"]:
        lines.append(words["no_targets"])
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _lines(finding: dict[str, Any], lang: str) -> list[str]:
    words = _TEXT[lang]
    seen = _FINDINGS[lang][finding["code"]].format(**finding["seen"])
    effect = ", ".join(_measure(words, *item) for item in finding["effect"].items())
    lines = [f"{words[finding['severity']]}: {seen}"]
    if effect:
        lines.append(f"  {words['effect']}: {effect}")
    return [*lines, f"  {words['write']}: {finding['fix']}"]


def _measure(words: dict[str, str], name: str, value: float | None) -> str:
    number = "nan" if value is None else f"{value:.6g}"
    return f"{words['of_loss' if name == 'loss' else name]} {number}"
