"""Writes that come at once share what can be shared, and each is answered for itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.services.api.apis import CONFIG_MAPS, AnApi, a_config_map


def test_of_many_writes_at_once_each_gets_its_own_answer(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("together-taken"))
    invalid = {**a_config_map("together-invalid"), "data": {"no key!": "x"}}
    bodies = [
        *(a_config_map(f"together-{number}", n=str(number)) for number in range(20)),
        *(a_config_map("together-taken") for _ in range(5)),
        *(invalid for _ in range(5)),
        *(a_config_map("together-once", n=str(number)) for number in range(5)),
    ]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda body: api.ask("POST", CONFIG_MAPS, body), bodies))
    codes = [answer.status_code for answer in answers]
    assert codes[:30] == [201] * 20 + [409] * 5 + [422] * 5
    assert sorted(codes[30:]) == [201, 409, 409, 409, 409]
    for number, answer in enumerate(answers[:20]):
        found = answer.json()
        assert (found["metadata"]["name"], found["data"]) == (f"together-{number}", {"n": str(number)})
        assert api.get(f"{CONFIG_MAPS}/together-{number}") == found


def test_writes_of_one_object_at_once_follow_one_another(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("in-turn"))
    patches = [{"data": {f"n{number}": "x"}} for number in range(20)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda patch: api.patch(f"{CONFIG_MAPS}/in-turn", patch), patches))
    assert sorted(api.get(f"{CONFIG_MAPS}/in-turn")["data"]) == sorted(f"n{number}" for number in range(20))
