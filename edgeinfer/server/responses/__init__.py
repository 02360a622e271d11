"""OpenAI's newer dialect: responses. Nothing of them is kept, a conversation comes whole each time."""
