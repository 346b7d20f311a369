"""Winners with known meanings, and questions in other words: what a search and a cache must get.

Two dozen ads of one shop, each with two questions that paraphrase it without its own phrases, and
questions as people repeat them: the same words, the same wish in other words, and another wish
that only looks alike. All written for this purpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from geminivideo.language import Embedder
from geminivideo.learning_records import CreativeDna, WinnerEntry, WinnerPerformance
from geminivideo.rag import dna
from geminivideo.rag.index import packed
from geminivideo.services.winners_index import BY_HTTP, entry_of


@dataclass(frozen=True)
class LabelledWinner:
    """An ad by what a caller tells of it, and questions that it is the answer to."""

    ad_id: str
    told: dict[str, str]
    questions: tuple[str, ...]


def _ad(
    ad_id: str, hook_type: str, hook: str, visual: str, audio: str, pacing: str, copy: str,
    cta: str,
    *questions: str,
) -> LabelledWinner:  # fmt: skip
    told = {
        "hook": hook, "hook_type": hook_type, "visual": visual, "audio": audio,
        "pacing": pacing, "copy": copy, "cta": cta,
    }  # fmt: skip
    return LabelledWinner(ad_id, told, questions)


WINNERS = (
    _ad("boots", "question", "Tired of wet feet?", "Shows hiking boots in a muddy forest",
        "Speech over music", "9 seconds, fast cuts", "These boots keep you dry on every trail",
        "Shop now",
        "waterproof footwear for walking outdoors", "shoes that stop the rain getting in"),
    _ad("mattress", "transformation", "From sore mornings to deep sleep",
        "Shows a person waking up in a bright bedroom", "Soft music without speech",
        "15 seconds, slow cuts", "Our foam bed takes the weight off your spine", "Try 100 nights",
        "bed that helps against back pain", "sleeping better on a new foam cushion"),
    _ad("coffee", "story", "My grandfather roasted beans by hand",
        "Shows coffee beans and an old roasting drum", "Speech without music", "20 seconds",
        "A family roastery since 1931", "Order a bag",
        "family tradition espresso roaster", "old craft of preparing a morning drink"),
    _ad("budget-app", "statistic", "83% of people overspend on food",
        "Shows charts on a phone screen", "Speech over music", "12 seconds, fast cuts",
        "See where your money goes every week", "Download",
        "mobile application to save money", "software that tracks household expenses"),
    _ad("yoga", "pattern_interrupt", "Stop stretching like this",
        "Shows a woman on a mat by the sea", "Calm music", "10 seconds",
        "Ten minutes a day loosen your hips", "Join free",
        "flexibility exercise class", "short daily workout for stiff joints"),
    _ad("dog-food", "question", "Is your dog scratching again?", "Shows a dog eating from a bowl",
        "Speech over music", "14 seconds", "Grain free food for sensitive skin", "Get the offer",
        "pet nutrition for allergies", "meal for puppies with itching"),
    _ad("vacuum", "pattern_interrupt", "Look under your couch",
        "Shows a robot cleaning a carpet", "Music without speech", "8 seconds, fast cuts",
        "It empties itself for two months", "Learn more",
        "automatic floor cleaning machine", "device that removes dust at home by itself"),
    _ad("language", "story", "I ordered dinner in Italian after 3 weeks",
        "Shows a man in a restaurant in Rome", "Speech without music", "18 seconds",
        "Short lessons with real speakers", "Start learning",
        "learn to speak a foreign tongue", "course for talking to locals on holiday"),
    _ad("ev", "statistic", "0 to 100 in 3.9 seconds", "Shows a red car at night",
        "Engine sounds and music", "6 seconds, fast cuts", "Fully electric, 600 km of range",
        "Book a test drive",
        "fast battery powered vehicle", "automobile that needs no petrol"),
    _ad("plants", "urgency", "Spring sale ends tonight", "Shows green plants on a balcony",
        "Birdsong", "11 seconds", "Herbs and flowers delivered in peat free soil", "Shop now",
        "gardening discount last chance", "growing basil and blossoms at home"),
    _ad("skincare", "authority", "Dermatologists use this themselves",
        "Shows a doctor and a jar of cream", "Speech over music", "15 seconds",
        "Ceramides repair the skin barrier", "See the study",
        "doctor recommended lotion for the face", "medical expert cosmetics for dry cheeks"),
    _ad("bike-helmet", "story", "This helmet saved my life", "Shows a cyclist on a city street",
        "Speech without music", "16 seconds", "It inflates in a tenth of a second", "Learn more",
        "safety gear for cycling", "protecting your head in traffic accidents"),
    _ad("meal-kit", "question", "What is for dinner tonight?",
        "Shows vegetables on a chopping board", "Upbeat music", "9 seconds, fast cuts",
        "Recipes and ingredients in one box", "Get the offer",
        "cooking box delivered to your door", "fresh groceries with instructions for supper"),
    _ad("headphones", "pattern_interrupt", "Silence. Now press play.",
        "Shows headphones in a crowded train", "Silence, then loud music", "7 seconds",
        "Noise disappears, only music stays", "Buy now",
        "listening without hearing the surroundings", "earphones that block noise"),
    _ad("insurance", "question", "Who pays when your phone breaks?",
        "Shows a broken screen on the floor", "Speech over music", "12 seconds",
        "Cover from two euros a month", "Get a quote",
        "protection plan for a damaged smartphone", "cheap policy for gadget accidents"),
    _ad("kids-book", "story", "She is the hero of her own book",
        "Shows a girl reading in a tent", "Gentle music", "20 seconds",
        "A story with your child's name on every page", "Make yours",
        "personalised present for a little daughter", "bedtime reading for children"),
    _ad("razor", "statistic", "One blade, 60 shaves", "Shows a man's beard being shaved",
        "Speech without music", "10 seconds", "Steel that stays sharp for a year", "Shop now",
        "beard trimming tool for gentlemen", "long lasting grooming for guys"),
    _ad("tent", "transformation", "From bag to camp in 60 seconds",
        "Shows a tent unfolding on a mountain", "Wind and music", "8 seconds",
        "It opens itself and fits two", "See how it works",
        "camping shelter that is quick to pitch", "overnight gear for hikers in the hills"),
    _ad("wine", "authority", "Chosen by three sommeliers", "Shows glasses and a vineyard",
        "Speech over music", "14 seconds", "Six bottles from small growers", "Order the case",
        "expert selected red and white drinks", "grapes from little farms to taste at home"),
    _ad("crm", "statistic", "Sales teams lose 5 hours a week", "Shows an office and a laptop",
        "Speech over music", "15 seconds", "One inbox for every customer", "Start free",
        "business software for managing clients", "tool that saves sellers time at work"),
    _ad("solar", "question", "Why rent your electricity?", "Shows panels on a roof in the sun",
        "Speech over music", "17 seconds", "Own your power and cut the bill in half", "Get a quote",
        "renewable energy for a house", "lower utility costs by sunshine"),
    _ad("sneaker", "urgency", "Only 300 pairs", "Shows white sneakers on a basketball court",
        "Hip hop beat", "6 seconds, fast cuts", "The drop opens on Friday", "Get notified",
        "limited edition sport shoes", "exclusive release for collectors of trainers"),
    _ad("therapy", "story", "I did not know how to ask for help",
        "Shows a woman on a video call", "Quiet speech", "19 seconds",
        "Talk to a licensed therapist from home", "Begin today",
        "online mental health counselling", "someone to speak with about worries"),
    _ad("toothbrush", "authority", "The brush that dentists give their families",
        "Shows a smile and a toothbrush", "Speech over music", "9 seconds",
        "It feels when you press too hard", "Buy now",
        "oral hygiene gadget", "cleaning your teeth gently"),
)  # fmt: skip

# What people ask after something was asked: the question before, the question, whether what was
# found for the first is the answer to the second.
REPEATED = (
    ("ads that open with a question", "Ads that open with a question?", True),
    ("winners about sleep", "winners about sleep", True),
    ("fast cut ads for shoes", "Fast-cut ads for shoes", True),
    ("ads that open with a question", "ads which open with a question", True),
    ("ads that open with a question", "ads opening with a question", True),
    ("winning ads for shoes", "winning ads about shoes", True),
    ("best ads with a person speaking", "the best ads with a person speaking", True),
    ("stories about family businesses", "stories about a family business", True),
    ("ads that show a discount", "ads showing a discount", True),
    ("ads for coffee with slow pacing", "slow paced ads for coffee", True),
    ("ads that mention a doctor", "ads where a doctor is mentioned", True),
    ("short videos for a mobile app", "short clips for a phone app", True),
    ("ads that open with a question", "ads that open with a statistic", False),
    ("ads with speech", "ads without speech", False),
    ("ads with fast cuts", "ads with slow cuts", False),
    ("winning ads for shoes", "winning ads for cars", False),
    ("ads that end with shop now", "ads that end with learn more", False),
    ("bright pictures", "dark pictures", False),
    ("ads for dog food", "ads for cat food", False),
    ("ads about saving money", "ads about saving time", False),
    ("ads for men", "ads for women", False),
    ("ads with music", "ads with no music", False),
)


def dna_of(winner: LabelledWinner, account_id: str = "labelled") -> CreativeDna:
    """The winner's creative DNA."""
    return dna.of_members(account_id, winner.ad_id, 0.0, winner.told)


def entries_of(model: Embedder) -> Iterator[WinnerEntry]:
    """The winners as an index takes them, by a text model."""
    told = [dna_of(winner) for winner in WINNERS]
    vectors = model.embed([dna.text_of(one) for one in told])
    for one, vector in zip(told, vectors, strict=True):
        bare = entry_of(one, WinnerPerformance(), BY_HTTP, 0.0)
        yield replace(bare, vector=packed(vector), source=model.source)
