"""Every reason by which a result is less than the best, with the sentence that explains it.

A reason is a short word that travels from the step that gave it to the end of the flow. Reasons
are of four kinds: what is missing because no cloud is there (documented for offline use), what is
missing in the video itself, what a rendering had to leave out, and what is broken and wants an
operator. ``:`` and a detail may follow the name.
"""

from __future__ import annotations

from collections.abc import Iterable

OBJECTS_UNAVAILABLE = "objects-unavailable-offline"
ENGLISH_ONLY = "english-only-speech"
HEURISTIC_RANK = "heuristic-rank"
PARTIAL_FEATURES = "partial-features"
DEFAULT_STRATEGY = "default-strategy"
NO_AUDIO = "no-audio"
NO_FEATURES = "no-features"
COARSE_CUTS = "coarse-cuts"
NO_FRAME = "no-frame-in-scene"
LOUDNESS_UNMEASURED = "loudness-unmeasured"
CUTS_IN_PART = "cuts-in-part"
SPEECH_IN_PART = "speech-heard-in-part"
SPEECH_NOT_UNDERSTOOD = "speech-not-understood"
SOUND_UNREADABLE = "sound-unreadable"
PICTURE_DAMAGED = "picture-damaged"
LANGUAGE_UNSURE = "language-unsure"
SOUND_JUDGED_IN_PART = "sound-judged-in-part"
NO_MEANING = "searched-by-words-only"
CHAMPION_UNREADABLE = "champion-unreadable"
ACTUALS_REFUSED = "actuals-refused"
PROMOTIONS_LEFT = "promotions-left"
SHADOW_UNREADABLE = "shadow-unreadable"
THRESHOLDS_FOREIGN = "thresholds-of-another-currency"
INSIGHTS_NOT_CONFIGURED = "insights-not-configured"
INDEX_REBUILT = "winner-index-rebuilt"
WINNERS_NOT_COMPARED = "winners-not-compared"
WINNERS_UNKNOWN = "winners-without-dna"
WINNERS_IN_PART = "winners-indexed-in-part"
ACTUALS_LATE = "actuals-stopped-late"
ACTUALS_PARTIAL = "actuals-partial"
ACTUALS_UNBELIEVABLE = "actuals-unbelievable"
DAY_DOUBTED = "day-doubted"
ADS_CONTRADICT = "ads-contradict"
NOT_MADE_HERE = "ads-without-prediction"
OTHER_MODELS = "accuracy-of-earlier-models"
LOOP_LOST = "learning-loop-lost"
NOTHING_SHARED = "nothing-shared-yet"
PRIVACY_BUDGET_SPENT = "privacy-budget-spent"

OFFLINE_REASONS: dict[str, str] = {
    OBJECTS_UNAVAILABLE: (
        "Objects were not looked for: no object model is installed. `make` installs one; or set "
        "GV_OBJECT_MODEL to a YOLO ONNX file, or use the Video Intelligence API."
    ),
    ENGLISH_ONLY: (
        "Speech was recognised by the local model, which hears every language as English. "
        "Set GV_SPEECH_MODEL to a multilingual Whisper model, or use the Video Intelligence API."
    ),
    HEURISTIC_RANK: (
        "Scenes were ranked by the documented heuristic: no model has learned from actual clicks."
    ),
    f"{PARTIAL_FEATURES}:objects": (
        "The score leaves out objects, which were not looked for; it is taken over what is known."
    ),
    DEFAULT_STRATEGY: (
        "The ads were planned and judged by the rule-based strategy: the Gemini models were not "
        "reached."
    ),
    NO_MEANING: (
        "Scenes can be searched by their words only: the model that compares meanings is not "
        "installed or was not reached."
    ),
}
INPUT_REASONS: dict[str, str] = {
    NO_AUDIO: "The video has no sound: no captions, and its loudness is unknown.",
    NO_FEATURES: "Nothing could be measured in a scene, so it has no score and is ranked last.",
    COARSE_CUTS: "The video is long: its cuts were looked for at key frames only.",
    CUTS_IN_PART: "There was not time to look at the video's end: it is one scene.",
    NO_FRAME: "A scene has no picture that can be decoded.",
    SPEECH_IN_PART: "The video is long: what is said towards its end was not recognised.",
    PICTURE_DAMAGED: (
        "Pictures of a scene are damaged in the file: what was seen in it may be wrong, and an ad "
        "shows the damage."
    ),
    SPEECH_NOT_UNDERSTOOD: (
        "There is a voice, and the speech model understood no word of it: what is said is unknown."
    ),
    SOUND_UNREADABLE: "The sound track is damaged: what is said and how loud is unknown.",
    LANGUAGE_UNSURE: "The language that is spoken was not recognised for sure.",
    SOUND_JUDGED_IN_PART: "The video is long: voice, music and silence are unknown in its end.",
    LOUDNESS_UNMEASURED: "The loudness of a scene could not be measured: its sound is too short.",
}

RENDER_REASONS: dict[str, str] = {
    "no-transcript": "Nothing is known of what is said, so there are no captions.",
    "silent-track": "A sound file was silent and was left out of the mix.",
    "sound-cut": "A sound lasts longer than the video, and what comes after its end is not heard.",
    "language-differs": "What is said is in another language than the captions were asked for.",
    "silent-audio": "The sound is silent, so there was no loudness to bring to its target.",
    "no-focus": "Nothing in the picture draws the eye, so the crop stays in the middle.",
    "text-shortened": "A text was longer than its place on the picture and was shortened.",
    "undrawable-characters": (
        "A text had characters that our typeface cannot draw (emoji, right-to-left and several "
        "Asian scripts), which were left out."
    ),
    "words-after-picture": "Words are said after the last picture: no caption shows them.",
    "overlay-unplaced": "A text is shown too briefly to be read and was left out.",
    "gpu-unavailable": "No graphics card encodes here, so the processor did.",
    "enlarged": "The video was enlarged beyond its own pixels, as was asked for.",
    "below-platform-size": "The video has fewer pixels than the platform shows.",
    "sound-dropped": "The format that was asked for carries no sound.",
    "trimmed": "The video was longer than the platform takes, and its end was cut off as asked.",
    "footage-reused": "There was too little footage: a stretch of it is shown more than once.",
    "ad-shortened": "There was too little footage for the length that was asked for.",
    "features-unknown": "A clip was not analysed: where its footage went was not chosen by it.",
    "roles-assumed": (
        "Nothing tells what shows the time before and what the time after: the clips' order did."
    ),
    "clip-enlarged": "A clip has fewer pixels than the ad and was enlarged.",
    "beat-text-missing": "A beat has no text of its own, because none was given.",
    "voice-overruns": "A spoken line is longer than its beat, even at the fastest fair pace.",
    "voice-short": "A spoken line is much shorter than its beat; silence fills the rest.",
    "word-times-estimated": (
        "When each word is spoken was worked out from its letters, not heard."
    ),
    "unknown-grade": "The plan asked for a look that does not exist; the natural one was used.",
    "not-enlarged": "A proxy has no more pixels than its video, though more were asked for.",
    "licence-unknown": "An asset's licence is not known: nothing made with it may be published.",
    "no-dna-model": "What was measured is told; no model has learned which of it works.",
    "graphic-shortened": "A graphic would have outlasted the video; it ends with it.",
    "graphics-overlap": "Two graphics are shown at the same time, and there is no room for both.",
    "transition-dropped": "An edit left a transition without its neighbour or its material.",
    "otio-unknown": "An imported timeline had something that is not known here; it was left out.",
    "otio-size-assumed": "An imported timeline told no frame size: 1920x1080 was taken.",
    "duplicate-plan": "The plan was the same as another one and was rejected.",
    "budget-too-small": "The account's daily budget is too small for every ad: some were left out.",
}
BUDGET_REASONS: dict[str, str] = {
    INSIGHTS_NOT_CONFIGURED: (
        "Meta's insights were not read: no reading token is configured (metaReadToken)."
    ),
    "account-timezone-unknown": (
        "Meta did not say the account's time zone: its days are taken as UTC days."
    ),
    "account-timezone-fixed": (
        "The account's time zone is not known here by its name: its days are counted with today's "
        "offset, and those before clocks last changed may begin an hour off."
    ),
    "insights-rows-refused": "Rows of Meta's report could not be read and were left out.",
    "insights-contradict": (
        "Days of Meta's report contradict themselves: late clicks count to the day before, and ads "
        "whose numbers cannot be true keep their budgets."
    ),
    "budgets-undecidable": (
        "Budgets were left as they are: they sit on a campaign, or Meta has not shown their ads."
    ),
    "no-value-credited": (
        "Nothing that the account counts (deals, or in mode direct purchases) brought value yet, "
        "so clicks alone decided."
    ),
    "other-value-not-counted": (
        "Value was reported of the kind that the account does not count: set sampler.mode in "
        "policies/ID to direct to decide by the purchases that Meta reports, to pipeline to decide "
        "by HubSpot's deals."
    ),
    "purchases-without-value": (
        "Meta reports purchases of an ad without what they were worth: they bring it no budget, "
        "and it is not stopped for them. Send value and currency with the Purchase event."
    ),
    THRESHOLDS_FOREIGN: (
        "The account's currency has no cents, and the policy's amounts are the defaults, made for "
        "cents: set ignorance_spend, kill_spend and min_daily_budget in policies/ID."
    ),
    "changes-beyond-cycle": (
        "More changes were decided than one cycle queues: the smallest moves wait for the next."
    ),
}
LEARNING_REASONS: dict[str, str] = {
    "issue-not-recognised": (
        "What the issue is about was not understood: changes of every kind were planned."
    ),
    "more-ads": "There are more ads than were looked at: name an account.",
    PROMOTIONS_LEFT: (
        "The time of the loop was over before every winner was promoted: the next cycle goes on."
    ),
    WINNERS_NOT_COMPARED: (
        "Winners were not compared by meaning: the model that does was not reached, or has not "
        "read them yet; the next cycle brings them in."
    ),
    WINNERS_UNKNOWN: "Of some winners nothing is known that could be searched; they were left out.",
    WINNERS_IN_PART: "There was not time for every winner: the next cycle indexes the rest.",
    ACTUALS_LATE: "Time was up before every ad's actuals were fetched; the next cycle goes on.",
    ACTUALS_PARTIAL: (
        "Ads whose insights are old or lack days were counted with what is known of them."
    ),
    ACTUALS_UNBELIEVABLE: "Ads were left out, because nothing that is told of them can be true.",
    DAY_DOUBTED: (
        "A day was left out: nearly all ads' click rates jumped together on it, or some ads' did "
        "and went back, while others' stayed."
    ),
    ADS_CONTRADICT: (
        "Days of ads with more clicks than impressions, or whose click rates leapt up together, "
        "were left out."
    ),
    NOT_MADE_HERE: "Ads have no prediction that preceded them, so they judge no model.",
    OTHER_MODELS: (
        "The model in use has predicted too few ads: the accuracy is that of all that predicted."
    ),
    NOTHING_SHARED: (
        "No shared patterns yet: too few accounts contribute for what the noise must hide."
    ),
    PRIVACY_BUDGET_SPENT: (
        "The account's privacy budget is spent: it is in no new release until old losses leave the "
        "budget's window; the release before it stands."
    ),
}
FAULT_REASONS: dict[str, str] = {
    LOOP_LOST: "The learning cycle went on without one of its loops; its record says why.",
    INDEX_REBUILT: (
        "The index of winners could not be read and was built again from the entries it comes from."
    ),
    CHAMPION_UNREADABLE: (
        "The champion model's document cannot be used; scenes were ranked without it. Roll back to "
        "the model before it."
    ),
    ACTUALS_REFUSED: (
        "Actuals that cannot be true were not learned from: look at the days and ads that the "
        "cycle names."
    ),
    SHADOW_UNREADABLE: (
        "A model on trial cannot be read: it says nothing of these ads, and is not judged by them."
    ),
}


def partial(missing: Iterable[str]) -> str:
    """``partial-features:a,b``: the score was taken without these parts."""
    return f"{PARTIAL_FEATURES}:{','.join(sorted(missing))}"


def sentence(reason: str) -> str:
    """What a reason means, for people; the reason itself when it is not documented."""
    documented = (
        OFFLINE_REASONS
        | INPUT_REASONS
        | RENDER_REASONS
        | BUDGET_REASONS
        | LEARNING_REASONS
        | FAULT_REASONS
    )
    name, _, detail = reason.partition(":")
    if reason in documented:
        return documented[reason]
    if name == PARTIAL_FEATURES:
        return f"The score leaves out {detail.replace(',', ', ')}, which could not be measured."
    return f"{documented[name]} ({detail})" if name in documented else reason


def beyond_offline(reasons: Iterable[str]) -> tuple[str, ...]:
    """The reasons that offline use alone does not explain, in their order."""
    return tuple(reason for reason in reasons if reason not in OFFLINE_REASONS)
