"""What the library itself says on a page, in Korean: made of the numbers, for it speaks English."""

from __future__ import annotations

from typing import Any

RULES = {
    "lowest": "하나 뺀 손실이 가장 낮은 값",
    "one-standard-error": "하나 뺀 손실이 가장 낮은 값에서 표준 오차 하나 안에 드는 가장 강한 벌점",
}
ENDS = {
    "CERTIFIED": "",
    "UNCERTIFIED": " float64가 허락하는 데까지 수렴했지만, 벌점을 받지 않는 방향이 있어서 한계를 "
    "증명할 수 없다. 증명하려면 C를 유한한 수로 두면 된다.",
    "STALLED": " 차이가 tol에 이르기 전에 반올림 때문에 멈추었다. tol을 올리거나, 크기가 극단인 "
    "열의 단위를 바꾸면 된다.",
    "ITERATION_LIMIT": " 차이가 tol에 이르기 전에 max_iter에서 멈추었다. max_iter나 tol을 "
    "올리거나, C를 내리면 된다.",
    "INTERRUPTED": " 손으로 멈추었다. 지금까지 가장 나은 모델이지만 최적은 아니다.",
    "unknown": " 바란 만큼 증명하기 전에 멈추었다.",
}


def in_korean(told: dict[str, Any]) -> dict[str, Any]:
    """The same report with the library's sentences in Korean."""
    record, choice = told["record"], told["choice"]
    if "status" in record:
        record = {**record, "status": status(record, told["ended"])}
    if choice is not None and choice["note"] is not None:
        choice = {**choice, "note": note(choice, record.get("l1_ratio", 0.0))}
    return {**told, "record": record, "choice": choice}


def status(record: dict[str, Any], ended: dict[str, Any] | None) -> str:
    """How the solve ended; `ended` is None where only the model file is there to tell.

    >>> status({"gap": 3e-9, "solver": "newton", "certified": True}, None)
    '행마다 최선보다 3.0e-09냇 넘게 나쁘지 않다고 증명되었다 (newton).'
    """
    gap = record.get("gap")
    proof = (
        "증명되지 않았다"
        if gap is None
        else f"행마다 최선보다 {gap:.1e}냇 넘게 나쁘지 않다고 증명되었다"
    )
    if ended is None:
        end = "CERTIFIED" if record["certified"] else "unknown"
        return f"{proof} ({record['solver']}).{ENDS[end]}"
    cost = f"데이터를 {ended['passes']}번 읽고 {ended['seconds']:.3g}초 걸렸다"
    return f"{proof}. {cost} ({record['solver']}).{ENDS[ended['status']]}"


def note(choice: dict[str, Any], l1_ratio: float) -> str:
    """How C was chosen, or why it was not."""
    if choice["table"]:
        return f"{RULES[choice['rule']]}, {len(choice['table'])}개 가운데{_what_to_know(choice)}"
    if l1_ratio > 0:
        return f"하나 빼기에는 매끄러운 벌점(l1_ratio = 0)이 필요해서 C를 {choice['C']:g}로 두었다."
    if choice["stopped"]:
        return "C를 하나도 판단하기 전에 손으로 멈추었다."
    return f"이 데이터나 설정에서는 하나 빼기를 할 수 없어서 C를 {choice['C']:g}로 두었다."


def _what_to_know(choice: dict[str, Any]) -> str:
    Cs = [line["C"] for line in choice["table"]]
    told = "; 경로의 끝" if len(Cs) > 1 and choice["C"] in (Cs[0], Cs[-1]) else ""
    if choice["alone"]:
        told += f"; 빼면 클래스가 비는 {choice['alone']}개 행은 빼지 못했다"
    return told + ("; 경로가 끝나기 전에 손으로 멈추었다" if choice["stopped"] else "")
