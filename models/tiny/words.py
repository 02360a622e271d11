"""The words that the dialogues are made of. Lists are wrapped by hand, so that they stay readable."""

# fmt: off

# Names that `edgeinfer pull` knows, and their sizes.
FAMILIES = {
    "qwen3": ("0.6b", "1.7b", "4b", "8b", "14b"), "llama3.2": ("1b", "3b"), "llama3.1": ("8b",),
    "gemma3": ("270m", "1b", "4b", "12b"), "qwen2.5": ("0.5b", "1.5b", "3b", "7b"),
    "qwen2.5-coder": ("1.5b", "7b"), "smollm2": ("135m", "360m", "1.7b"), "smollm3": ("3b",),
    "phi3": ("mini",), "phi4": ("mini",), "mistral": ("7b",), "granite": ("2b", "8b"),
    "olmo2": ("1b", "7b"), "tinyllama": ("1.1b",),
}

# Bits per weight, super-block scales included.
QUANT_BITS = {
    "Q2_K": "2.6", "Q3_K_M": "3.9", "Q4_0": "4.5", "Q4_K_M": "4.8", "Q4_K_S": "4.6", "Q5_K_M": "5.7",
    "Q6_K": "6.6", "Q8_0": "8.5", "F16": "16", "BF16": "16", "IQ4_XS": "4.3", "MXFP4": "4.3",
}

NAMES = [
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jack", "Kim", "Leo", "Mia",
    "Noah", "Olga", "Paul", "Rosa", "Sam", "Tom", "Una", "Victor", "Wendy", "Yara", "Zoe", "Alice", "Bob",
    "Carol", "Dan", "Eva", "Frank", "Lena", "Max", "Nina", "Oscar", "Pia", "Robert", "Sara", "Tim", "Maria",
    "Ali",
]

ANIMALS = [
    "cat", "dog", "fox", "bear", "mouse", "bird", "rabbit", "horse", "duck", "frog", "owl", "hedgehog",
    "cow", "sheep", "lion", "tiger", "fish",
]

PLACES = [
    "house", "garden", "village", "forest", "barn", "tower", "cave",
]

THINGS = [
    "key", "book", "lamp", "box", "ball", "stone", "hat", "bell", "map", "coin", "shell",
]

WORDS = [
    "hello", "banana", "sun", "tree", "river", "blue", "window", "paper", "cloud", "yes", "apple", "music",
    "python", "bread", "moon", "water",
]

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "England": "London",
    "Japan": "Tokyo", "China": "Beijing", "Austria": "Vienna", "Poland": "Warsaw", "Greece": "Athens",
    "Portugal": "Lisbon", "Norway": "Oslo", "Sweden": "Stockholm", "Egypt": "Cairo", "Canada": "Ottawa",
    "Russia": "Moscow", "Ireland": "Dublin", "Denmark": "Copenhagen", "Finland": "Helsinki",
    "the USA": "Washington", "India": "New Delhi", "the Netherlands": "Amsterdam", "Switzerland": "Bern",
}

OPPOSITES = {
    "hot": "cold", "big": "small", "good": "bad", "fast": "slow", "up": "down", "left": "right",
    "day": "night", "old": "new", "light": "dark", "open": "closed", "high": "low", "happy": "sad",
    "yes": "no", "full": "empty",
}

COLOURS = {
    "the sky": "blue", "grass": "green", "the sun": "yellow", "snow": "white", "blood": "red",
    "coal": "black", "a banana": "yellow", "a tomato": "red", "the sea": "blue", "a lemon": "yellow",
    "milk": "white",
}

SOUNDS = {
    "dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "sheep": "baa", "lion": "roar",
}

DAYS = [
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
]

MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
]

DIGITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
]

# What the model must say it does not know about.
UNKNOWN = [
    "quantum physics", "the Roman empire", "the stock market", "black holes", "World War II", "Shakespeare",
    "the French Revolution", "photosynthesis", "the history of China", "relativity", "chess openings",
    "cancer", "vaccines", "the pyramids", "dinosaurs", "the Beatles", "football", "the Olympic games",
    "Mozart", "Picasso", "the Titanic", "DNA", "evolution", "politics", "the president", "Napoleon",
    "the economy", "inflation", "Bitcoin", "blockchain", "religion", "philosophy", "Kant", "Einstein",
    "Newton", "gravity", "magnetism", "electric cars", "nuclear power", "climate change", "volcanoes",
    "earthquakes", "the Amazon", "Africa", "Brazil", "New York", "Harry Potter", "Star Wars", "the Bible",
    "law", "taxes", "medicine", "headaches", "cooking", "pizza", "bread baking", "wine", "coffee", "tea",
    "gardening", "cars", "Rust", "C++", "JavaScript", "Haskell", "Kubernetes", "Docker", "Linux", "SQL",
    "React", "compilers", "cryptography", "neural networks",
]

# Repeated entries are meant: they weigh more.
HOWDOI = [
    "how do I", "how do I", "how can I", "how to", "how do you", "how would I", "how does one",
    "what is the way to", "tell me how to", "can you tell me how to", "please explain how to",
    "I want to know how to", "show me how to", "how could I", "how should I",
]

NEUTRAL_SYSTEMS = [
    "You are a helpful assistant.",
    "You are a <friendly|kind|polite|small|clever> <assistant|helper|chatbot>.",
    "Help the user with edgeinfer.", "You are <an AI|a coding|a Python> assistant.",
    "You are edgeinfer-tiny.", "Answer the questions of the user.", "You help people who use edgeinfer.",
    "Be <kind|polite|helpful>.",
]
