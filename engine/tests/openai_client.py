"""Promise: OpenAI's own client understands `kvdepot-engine serve`. Run by scripts/test-openai: openai_client.py URL."""

import sys

import openai

SHARED = "The depot keeps the caches of contexts that many requests share. " * 12


def main(url):
    client = openai.OpenAI(base_url=url + "/v1", api_key="secret", max_retries=0)
    assert [model.id for model in client.models.list()] == ["bundled"]
    completions(client)
    chat(client)
    refusals(client, url)
    print("OpenAI's client", openai.__version__, "understands all answers")


def completions(client):
    def ask(prompt, **more):
        return client.completions.create(model="bundled", prompt=prompt, max_tokens=24, temperature=0, **more)

    whole = ask(SHARED + "1", logprobs=0)
    assert whole.usage.completion_tokens == len(whole.choices[0].logprobs.tokens) == 24
    again = ask(SHARED + "2")
    assert again.usage.prompt_tokens_details.cached_tokens >= again.usage.prompt_tokens - 64
    streamed = "".join(chunk.choices[0].text for chunk in ask(SHARED + "1", stream=True))
    assert streamed == whole.choices[0].text, (streamed, whole)
    several = ask(["One", "Two"], n=2, seed=1)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]


def chat(client):
    def ask(**more):
        messages = [{"role": "system", "content": SHARED}, {"role": "user", "content": "What does it keep?"}]
        return client.chat.completions.create(model="bundled", messages=messages, max_completion_tokens=16, temperature=0, **more)

    whole = ask(logprobs=True, top_logprobs=2)
    assert whole.choices[0].message.role == "assistant"
    told = whole.choices[0].logprobs.content
    assert len(told) == whole.usage.completion_tokens
    assert all(len(token.top_logprobs) == 2 and token.top_logprobs[0].logprob >= token.logprob for token in told)
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content, (said, whole)
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == whole.choices[0].finish_reason


def refusals(client, url):
    def refused(error, ask):
        try:
            ask()
        except error as refusal:
            assert refusal.body["message"], refusal
        else:
            raise AssertionError(f"no {error.__name__}")

    refused(openai.NotFoundError, lambda: client.completions.create(model="other", prompt="a"))
    refused(openai.BadRequestError, lambda: client.completions.create(model="bundled", prompt="a", temperature=-1))
    stranger = openai.OpenAI(base_url=url + "/v1", api_key="guess", max_retries=0)
    refused(openai.AuthenticationError, lambda: stranger.models.list())


if __name__ == "__main__":
    main(sys.argv[1])
