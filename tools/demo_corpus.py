"""The text of the demo model: a seeded generator of a small harbour village.

Everything the bundled model knows is made here.  The village of Tarrow, its
people, their animals and the stories about them were written for this file and
are copied from nowhere.  A template is plain text in which `[a|b|c]` stands
for one of its alternatives (they nest) and `{name}` or `{name.field}` for a
slot.

    random_document(rng)  ->  one document: a story, a description, or a chat
    practice_document(rng) -> the same, with more of what is hard
    render_chat(messages) ->  the same text as the Jinja chat template makes

Run this file to print a few documents.
"""

import json
import random
import re
import sys

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
PAD = "<|pad|>"

INNERMOST = re.compile(r"\[([^\[\]]*)\]")


def expand(rng, template, **slots):
    """Choose one alternative of every bracket, then fill the slots."""
    while True:
        found = INNERMOST.search(template)
        if not found:
            break
        choice = rng.choice(found.group(1).split("|"))
        template = template[:found.start()] + choice + template[found.end():]
    text = re.sub(r"  +", " ", template.format(**slots)).strip()
    return re.sub(r" ([.,!?])", r"\1", text)


def an(phrase):
    """The phrase with its indefinite article."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def cap(text):
    return text[0].upper() + text[1:]


def listing(items):
    """Join as English does: a, b and c."""
    items = list(items)
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + " and " + items[-1]


NUMBER_WORDS = ("no one two three four five six seven eight nine ten eleven "
                "twelve thirteen fourteen fifteen sixteen seventeen eighteen "
                "nineteen twenty").split()


# --------------------------------------------------------------------------
# The world
# --------------------------------------------------------------------------

class Pet:
    def __init__(self, kind, name, colour):
        self.kind, self.name, self.colour = kind, name, colour
        self.a = an(colour + " " + kind)

    def __str__(self):
        return self.name


class Person:
    def __init__(self, name, sex, age, role, home, pet, food, colour, likes,
                 trait, work):
        self.name, self.age, self.role, self.home = name, age, role, home
        self.pet, self.food, self.colour = Pet(*pet.split("/")), food, colour
        self.likes, self.trait, self.work = likes, trait, work
        self.child = age < 14
        male = sex == "m"
        self.he, self.him, self.his = (
            ("he", "him", "his") if male else ("she", "her", "her"))
        self.himself = "himself" if male else "herself"
        self.He, self.His = cap(self.he), cap(self.his)
        self.kind = ("boy" if male else "girl") if self.child else (
            "man" if male else "woman")
        self.job = role if self.child else "the " + role
        self.desc = self.kind if self.child else role
        self.a_desc = an(self.desc)

    def __str__(self):
        return self.name

    def __format__(self, spec):
        return self.name


PEOPLE = [
    Person("Bram", "m", 71, "lighthouse keeper", "in the lighthouse",
           "cat/Pepper/grey", "fish soup", "blue", "watching the stars",
           "patient", "lights the big lamp every evening"),
    Person("Mira", "f", 38, "baker", "above the bakery",
           "dog/Biscuit/brown", "honey cake", "yellow", "singing",
           "kind", "bakes bread before the sun comes up"),
    Person("Tobin", "m", 41, "fisherman", "in the blue cottage by the pier",
           "gull/Scrap/white", "fried herring", "green", "telling jokes",
           "cheerful", "catches herring in the bay"),
    Person("Elsie", "f", 34, "teacher", "in the schoolhouse",
           "hen/Dot/red", "apple pie", "red", "reading",
           "clever", "teaches the children to read and count"),
    Person("Dorn", "m", 55, "ferry captain", "on the ferry",
           "parrot/Admiral/green", "hot stew", "white", "whistling",
           "brave", "sails the ferry to the island and back"),
    Person("Nella", "f", 9, "the daughter of the baker", "above the bakery",
           "rabbit/Clover/white", "berry jam", "purple", "climbing trees",
           "curious", "goes to school and helps in the bakery"),
    Person("Finn", "m", 8, "the son of the fisherman",
           "in the blue cottage by the pier",
           "crab/Button/orange", "pancakes", "orange", "collecting shells",
           "shy", "goes to school and helps with the nets"),
    Person("Ivy", "f", 10, "the daughter of the miller", "in the windmill",
           "frog/Hop/green", "toast with butter", "pink", "running",
           "bold", "goes to school and helps in the mill"),
    Person("Greta", "f", 46, "boat builder", "in the boatyard",
           "goat/Nettle/black", "onion bread", "brown", "carving wood",
           "strong", "builds boats and mends them"),
    Person("Hugo", "m", 50, "shopkeeper", "behind the shop",
           "tortoise/Rocket/brown", "cheese", "gold", "counting coins",
           "careful", "sells rope, tea, candles and paper"),
    Person("Ada", "f", 44, "doctor", "in the white house on the hill",
           "owl/Moon/grey", "pea soup", "silver", "growing roses",
           "gentle", "helps everyone who is ill or hurt"),
    Person("Wynn", "f", 60, "shepherd", "at the hill farm",
           "sheepdog/Bell/black", "potato pie", "grey", "knitting",
           "quiet", "looks after the sheep on the hill"),
    Person("Oskar", "m", 29, "postman", "in the little house by the gate",
           "donkey/Parsley/grey", "plum cake", "red", "walking",
           "friendly", "carries the letters from door to door"),
    Person("Lotta", "f", 78, "beekeeper", "in the cottage by the wood",
           "hedgehog/Thimble/brown", "bread and honey", "yellow",
           "telling stories", "wise", "looks after the bees"),
    Person("Rosa", "f", 36, "innkeeper", "at the Silver Herring inn",
           "kitten/Soot/black", "tomato soup", "red", "dancing",
           "merry", "cooks supper for the guests"),
    Person("Piet", "m", 52, "miller", "in the windmill",
           "mule/Barley/brown", "walnut bread", "white", "sleeping late",
           "calm", "grinds the wheat into flour"),
    Person("Jonas", "m", 24, "fiddler", "in the room over the shop",
           "duck/Waddle/yellow", "mushroom pie", "black", "making songs",
           "dreamy", "plays music in the market square"),
]
BY_NAME = {p.name: p for p in PEOPLE}
CHILDREN = [p for p in PEOPLE if p.child]
ADULTS = [p for p in PEOPLE if not p.child]

HOMES = {
    "in the lighthouse": ["Bram"],
    "above the bakery": ["Mira", "Nella"],
    "in the blue cottage by the pier": ["Tobin", "Finn"],
    "in the schoolhouse": ["Elsie"],
    "on the ferry": ["Dorn"],
    "in the windmill": ["Piet", "Ivy"],
    "in the boatyard": ["Greta"],
    "behind the shop": ["Hugo"],
    "in the white house on the hill": ["Ada"],
    "at the hill farm": ["Wynn"],
    "in the little house by the gate": ["Oskar"],
    "in the cottage by the wood": ["Lotta"],
    "at the Silver Herring inn": ["Rosa"],
    "in the room over the shop": ["Jonas"],
}

BOATS = {"Tobin": "Sea Thistle", "Dorn": "Grey Goose", "Greta": "Little Wren",
         "Finn": "Walnut"}
BOAT_KINDS = {"Tobin": "fishing boat", "Dorn": "ferry",
              "Greta": "sailing boat", "Finn": "toy boat"}

# name, where, a sentence about it, things to see there
PLACES = [
    ("the beach", "on the beach",
     "The sand is soft and full of shells.",
     ["white shells", "old nets", "small crabs", "driftwood"]),
    ("the pier", "on the pier",
     "The pier is long, and its old boards creak.",
     ["fishing boats", "coils of rope", "hungry gulls", "baskets of herring"]),
    ("the market square", "in the market square",
     "There is a market every Saturday.",
     ["fruit", "flowers", "fresh bread", "a stone fountain"]),
    ("the wood", "in the wood",
     "The trees are tall, and the path is covered with leaves.",
     ["tall trees", "mushrooms", "red squirrels", "birds"]),
    ("the hill", "on the hill",
     "From the top you can see the whole village and the sea.",
     ["sheep", "yellow flowers", "stone walls", "the white house"]),
    ("the lighthouse", "at the lighthouse",
     "Its lamp can be seen from far out at sea.",
     ["a tall white tower", "a big lamp", "many stairs", "the wide sea"]),
    ("the boatyard", "in the boatyard",
     "It smells of wood and paint.",
     ["long planks", "pots of paint", "hammers", "half a boat"]),
    ("the windmill", "at the windmill",
     "Its sails turn when the wind blows.",
     ["great sails", "sacks of flour", "a wooden door", "a brown mule"]),
    ("the school", "at the school",
     "It has one room, a stove and twelve small desks.",
     ["books", "chalk", "a map of the bay", "a brass bell"]),
    ("the rock pools", "by the rock pools",
     "When the tide is low the pools are full of life.",
     ["crabs", "little fish", "seaweed", "starfish"]),
    ("the bakery", "in the bakery",
     "It is warm and smells of fresh bread.",
     ["brown loaves", "honey cakes", "a big oven", "bags of flour"]),
    ("the old well", "by the old well",
     "Its water is clear and cold.",
     ["a wooden bucket", "green moss", "round stones", "a small frog"]),
    ("the garden", "in the garden",
     "Bees and butterflies come to the flowers.",
     ["roses", "bees", "beans", "butterflies"]),
    ("the island", "on the island",
     "It is small and quiet, and seals sleep on its rocks.",
     ["sleeping seals", "flat rocks", "sea birds", "a stone hut"]),
    ("the inn", "at the inn",
     "There is always a fire and a pot of soup.",
     ["a warm fire", "round tables", "a pot of soup", "happy guests"]),
]

WEATHER = {
    "sunny": "the sky was blue and the [sea|water] shone like glass",
    "rainy": "rain ran down the roofs and filled the barrels",
    "foggy": "thick white fog covered the harbour",
    "windy": "the wind pulled at the [sails|hats and coats|flags]",
    "stormy": "big waves broke over the [pier|harbour wall]",
    "snowy": "soft white snow lay on every roof",
    "calm": "the sea was flat and [quiet|still]",
    "cold": "there was ice on the [old well|puddles]",
    "warm": "the air smelled of [roses|salt and flowers|fresh bread]",
}
TIMES = ["morning", "afternoon", "evening"]
SEASONS = {
    "spring": "In spring the lambs are born on the hill and the first "
              "flowers open.",
    "summer": "In summer the days are long and the children swim in the bay.",
    "autumn": "In autumn the leaves turn red and the apples are ripe.",
    "winter": "In winter snow lies on the roofs and everyone sits by the "
              "fire.",
}
DAYS = ("Monday Tuesday Wednesday Thursday Friday Saturday Sunday").split()
MONTHS = ("January February March April May June July August September "
          "October November December").split()
OPPOSITES = [("hot", "cold"), ("big", "small"), ("day", "night"),
             ("up", "down"), ("wet", "dry"), ("old", "young"),
             ("fast", "slow"), ("happy", "sad"), ("open", "closed"),
             ("light", "dark"), ("loud", "quiet"), ("full", "empty"),
             ("high", "low"), ("near", "far"), ("hard", "soft"),
             ("left", "right"), ("summer", "winter"), ("long", "short")]
ANIMALS = {
    "cat": "A cat is a small animal with soft fur. It can see well at night, "
           "and it says meow.",
    "dog": "A dog is a good friend. It can smell very well, and it says woof.",
    "gull": "A gull is a white sea bird. It flies over the harbour and likes "
            "to steal fish.",
    "hen": "A hen is a bird that lays eggs. It cannot fly very far.",
    "seal": "A seal lives in the sea and rests on the rocks. It eats fish and "
            "swims very well.",
    "crab": "A crab has a hard shell and two claws. It walks sideways.",
    "bee": "A bee is a small insect that makes honey. It visits the flowers.",
    "sheep": "A sheep eats grass on the hill. Its wool keeps people warm.",
    "owl": "An owl is a bird that hunts at night. It has big round eyes.",
    "donkey": "A donkey is strong and has long ears. It can carry heavy bags.",
    "frog": "A frog lives near water. It can swim and jump very far.",
    "hedgehog": "A hedgehog is covered with sharp spines. It sleeps all "
                "winter.",
    "tortoise": "A tortoise carries its house on its back. It is slow, but it "
                "can live very long.",
    "rabbit": "A rabbit has long ears and soft fur. It likes to eat carrots.",
    "herring": "A herring is a silver fish that swims in the bay with many "
               "others.",
    "whale": "A whale is the largest animal in the sea. It must come up to "
             "breathe.",
}
ORIGINS = [
    ("Where does honey come from?", "Honey comes from bees."),
    ("Where does milk come from?", "Milk comes from cows and goats."),
    ("Where does wool come from?", "Wool comes from sheep."),
    ("Where do eggs come from?", "Eggs come from hens."),
    ("What is bread made of?",
     "Bread is made of flour, water, salt and yeast."),
    ("What is flour made of?", "Flour is made of wheat."),
    ("Why is the sea salty?",
     "Rivers carry a little salt from the land into the sea, and it stays "
     "there."),
    ("Why does it rain?",
     "Water rises into the air, makes clouds, and falls down again as rain."),
    ("What makes a boat move?",
     "The wind pushes its sails, or people pull the oars."),
    ("What is a lighthouse for?",
     "A lighthouse shows ships the way, so that they do not hit the rocks at "
     "night."),
    ("Why does the lamp shine at night?",
     "The lamp shines at night so that ships can find the harbour."),
    ("What is the tide?",
     "The tide is the slow rise and fall of the sea, twice a day."),
    ("What do bees do in winter?",
     "In winter bees stay in the hive and keep each other warm."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("How many legs does a crab have?",
     "A crab has ten legs, and two of them are claws."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("How many months are in a year?", "There are twelve months in a year."),
    ("How many seasons are there?",
     "There are four seasons: spring, summer, autumn and winter."),
    ("What colour is the sky?", "The sky is blue on a clear day."),
    ("What colour is snow?", "Snow is white."),
    ("What colour is grass?", "Grass is green."),
]
HOWTO = [
    ("bake bread", ["Mix flour, water, salt and yeast.",
                    "Knead the dough for ten minutes.",
                    "Let it rest until it is twice as big.",
                    "Bake it in a hot oven until it is brown."]),
    ("make tea", ["Boil some water.", "Put the tea in a pot.",
                  "Pour the hot water over the tea.",
                  "Wait four minutes and fill the cups."]),
    ("make fish soup", ["Cut the onions and the potatoes.",
                        "Cook them in a big pot.",
                        "Add the fish and some salt.",
                        "Serve the soup hot with bread."]),
    ("plant beans", ["Dig a small hole in the garden.",
                     "Put one bean in the hole.",
                     "Cover it with earth.",
                     "Water it every day."]),
    ("fly a kite", ["Wait for a windy day.", "Hold the string in one hand.",
                    "Run against the wind.", "Let the string out slowly."]),
    ("mend a net", ["Spread the net on the pier.", "Find the holes.",
                    "Tie new string across each hole.",
                    "Pull every knot tight."]),
    ("build a sandcastle", ["Find a place where the sand is wet.",
                            "Fill a bucket with sand.",
                            "Turn the bucket over.",
                            "Put shells and a flag on top."]),
]
COUPLETS = {
    "the sea": [
        "The sea is wide, the sea is deep,\n"
        "it sings the little boats to sleep.",
        "The waves come in, the waves go out,\n"
        "the white gulls turn and dance about.",
        "A little boat, a bit of blue,\na song of salt for me and you.",
        "The tide comes softly to the land\nand draws a line across the sand.",
    ],
    "the moon": [
        "The moon is round, the moon is bright,\n"
        "it paints the harbour silver white.",
        "The moon looks down on roof and tree\n"
        "and lays a road across the sea.",
        "When all the lamps are out at night,\n"
        "the moon still gives a little light.",
    ],
    "winter": [
        "The snow has come to roof and hill,\n"
        "the boats are tied, the mill is still.",
        "The wind is cold, the fire is red,\nthe cat is sleeping on the bed.",
        "The ice is thin, the night is long,\n"
        "we warm our hands and sing a song.",
    ],
    "summer": [
        "The sun is high, the days are long,\nthe bees fly by and hum a song.",
        "We run along the golden sand\nwith shells and seaweed in our hand.",
        "The roses bloom, the sky is clear,\n"
        "the warmest time of all the year.",
    ],
    "a cat": [
        "The little cat sits by the door\nand dreams of fish upon the shore.",
        "Her fur is soft, her eyes are green,\n"
        "the finest cat you've ever seen.",
        "She steps so softly on the stair\n"
        "that no one knows the cat is there.",
    ],
    "the wind": [
        "The wind runs up, the wind runs down,\n"
        "it knocks on every door in town.",
        "It turns the mill, it fills the sail,\n"
        "it tells the trees a long, long tale.",
        "It takes my hat, it takes the leaves,\n"
        "it sings at night around the eaves.",
    ],
}


def person(rng, *others, pool=PEOPLE):
    """Someone of the pool who is none of the others."""
    return rng.choice([p for p in pool if p not in others])


def place(rng, *others):
    return rng.choice([p for p in PLACES if p not in others])


# --------------------------------------------------------------------------
# Stories: each function returns (title topic, text); `a` is its hero
# --------------------------------------------------------------------------

def opening(rng, a, times=TIMES):
    """How a story begins: who, and what the weather was like."""
    kind = rng.choice(sorted(WEATHER))
    sky = expand(rng, WEATHER[kind])
    when = rng.choice(times)
    return expand(rng, rng.choice([
        "Once upon a time there was {a.a_desc} named {a} who lived {a.home}. "
        "One {kind} {when}, {sky}.",
        "Once upon a time there was {an_trait} {a.desc} named {a}. "
        "{a} lived {a.home} [in the village of Tarrow|with {a.his} "
        "{a.pet.kind} {a.pet}].",
        "Once there was {an_trait} {a.desc} in the village of Tarrow. "
        "{a.His} name was {a}, and {a.he} loved {a.likes}.",
        "It was {an_kind} {when} in Tarrow, and {sky}.",
        "One {kind} {when} in [spring|summer|autumn|winter], {a} woke up "
        "early. "
        if when == "morning" and kind not in ("snowy", "warm", "cold") else
        "One {kind} {when}, {sky}.",
        "{a} was {a.job} [and|. {a.He}] lived {a.home}. One {kind} {when}, "
        "{sky}."
        if not a.child else
        "{a} was {a.age} years old and lived {a.home}. One {kind} {when}, "
        "{sky}.",
        "In the village of Tarrow, everyone knew {a}, {a.job}. "
        "[{a.He} was {a.trait}, and {a.he} loved {a.likes}.|One {kind} "
        "{when}, {sky}.]",
    ]), a=a, kind=kind, when=when, sky=sky, an_trait=an(a.trait),
        an_kind=an(kind))


ENDINGS = {
    "help": ["{a} learned that it is [good|fine|no shame] to ask for help.",
             "From that day on, {a} and {b} were [good|the best of] friends.",
             "\"A friend is better than gold,\" said {a}, and {b} "
             "[smiled|laughed].",
             "That night {a} slept very well.",
             "And that is why {a} always keeps a place at the table for {b}."],
    "calm": ["It had been a good day.",
             "Then the stars came out, and the village [went to sleep|grew "
             "quiet].",
             "That night {a} dreamed of [the sea|boats and stars|honey cake].",
             "And when the lamp of the lighthouse was lit, everyone was home.",
             "{a} was tired, but very happy."],
}


def ending(rng, a, b=None):
    choices = ENDINGS["calm"] + (ENDINGS["help"] if b else [])
    return expand(rng, rng.choice(choices), a=a, b=b)


LOST = [("key", "brass"), ("hat", "blue"), ("spoon", "silver"),
        ("book", "little red"), ("glove", "green"), ("ring", "gold"),
        ("whistle", "tin"), ("lantern", "old"), ("basket", "round"),
        ("kite", "yellow")]


def story_lost(rng, a):
    b = person(rng, a)
    thing, adjective = rng.choice(LOST)
    p1, p2, p3 = rng.sample(PLACES, 3)
    if rng.random() < 0.5:
        middle = (
            "Then {a} met {b}. \"[What is wrong|Why do you look so sad]?\" "
            "asked {b}. "
            "\"I have lost my {thing},\" said {a}. "
            "\"[Let us look together|Come with me|I will help you],\" said "
            "{b}. "
            "They went to {p3}, and there, [under a stone|behind a box|in the "
            "grass|under an old net], "
            "lay the {adj} {thing}. ")
        b_text = (
            "[\"Thank you, {b}!\" said {a}.|{a} was so happy that {a.he} "
            "danced.|{a} thanked {b} and gave {b.him} some {a.food}.]")
    else:
        middle = (
            "At last {a} sat down and thought. \"Where did I have it last?\" "
            "{a.he} asked {a.himself}. "
            "Then {a.he} remembered: {b}'s {b.pet.kind} {b.pet} likes shiny "
            "things. "
            "{a} ran to {b}, and there was {b.pet}, asleep on the {adj} "
            "{thing}. ")
        b_text = (
            "[{a} and {b} laughed for a long time.|\"You little thief!\" "
            "said {b}, but {b.pet} only blinked.]")
    text = expand(
        rng,
        "{open} {a} was [sad|worried], because {a.he} had lost {a.his} {adj} "
        "{thing}. "
        "[First {a.he} looked {p1}, but it was not there.|{a.He} looked {p1} "
        "and found nothing.] "
        "[Then {a.he} looked {p2}, but it was not there either.|{a.He} looked "
        "{p2}, and found only {seen}.] "
        + middle + b_text + " {end}",
        open=opening(rng, a), a=a, b=b, thing=thing, adj=adjective, p1=p1[1],
        p2=p2[1], p3=p3[0], seen=rng.choice(p2[3]), end=ending(rng, a, b))
    return f"a lost {thing}", text


def story_storm(rng, a):
    bram = BY_NAME["Bram"]
    sailor = rng.choice([BY_NAME["Tobin"], BY_NAME["Dorn"]])
    a = a if a not in (bram, sailor) else person(rng, bram, sailor)
    boat = BOATS[sailor.name]
    kind = BOAT_KINDS[sailor.name]
    text = expand(
        rng,
        "[One evening|Late in autumn|One dark night] a great storm came to "
        "Tarrow. "
        "The wind [howled|roared], and the waves were as high as houses. "
        "{s}, {s.job}, was still out at sea in {s.his} {kind}, the {boat}. "
        "\"[I cannot see the harbour|Where is the light|Which way is home]?\" "
        "{s.he} [asked|cried]. "
        "{a} stood on the pier and [saw|knew] that the lamp of the lighthouse "
        "was dark. "
        "{a.He} ran [up the path|through the rain] to the lighthouse and "
        "knocked at the door. "
        "\"[Wake up, Bram|Bram, the lamp is out]!\" {a.he} called. "
        "Bram and {a} [climbed|ran up] the many stairs. "
        "[The oil was gone, so they filled the lamp again|The wind had broken "
        "a window, so they covered it with a blanket|The wick was wet, so "
        "they put in a new one]. "
        "Soon the light shone over the [sea|water|waves]. "
        "{s} saw it and turned the {boat} [toward|to] the harbour. "
        "When {s.he} stepped onto the pier, {s.he} was [wet and cold|wet], "
        "but safe. "
        "[\"You saved my life,\" {s.he} said.|\"Thank you, {a}. Thank you, "
        "Bram,\" {s.he} said.] "
        "Then they all [drank hot tea|ate fish soup|sat by the fire] [in the "
        "lighthouse|at the inn], and Pepper the cat [purred|slept on the "
        "chair]. {end}",
        a=a, s=sailor, kind=kind, boat=boat, end=ending(rng, a, sailor))
    return "a storm", text


FOODS = [("apples", "apple"), ("pears", "pear"), ("buns", "bun"),
         ("honey cakes", "honey cake"), ("plums", "plum"),
         ("cookies", "cookie"), ("eggs", "egg"), ("fish", "fish"),
         ("shells", "shell"), ("flowers", "flower")]


def plural(count, names):
    return NUMBER_WORDS[count] + " " + names[1 if count == 1 else 0]


def story_share(rng, a):
    b = person(rng, a)
    c = person(rng, a, b)
    item = rng.choice(FOODS)
    n = rng.randint(4, 12)
    x = rng.randint(1, n - 2)
    y = rng.randint(1, n - x - 1)
    text = expand(
        rng,
        "{open} {a} had a basket with {n}. "
        "[On the way to the market square|On the way home|Near the old well] "
        "{a.he} met {b}. "
        "\"[Good morning|Hello], {a}! [What is in your basket|What do you "
        "have there]?\" asked {b}. "
        "\"{N},\" said {a}. \"[Please take|You can have] {x}.\" {b} [was very "
        "glad|smiled and said thank you]. "
        "Now {a} had {left}. "
        "[A little later|Then|Near the gate] {a.he} met {c}, who looked "
        "[sad|tired|hungry]. {a} gave {c.him} {y}. "
        "Now there [{isare}] {rest} in the basket. "
        "[{a} sat down by the sea and looked at {itthem}.|\"That is enough "
        "for me,\" said {a}.] "
        "[In the evening|The next day] there was a knock at the door. It was "
        "{b} and {c}, and they had brought "
        "[a big pot of {b.food}|some {c.food}|a plate of {c.food}]. "
        "[They all ate together|They sat at one table] and "
        "[talked|laughed|sang] until it was dark. {end}",
        open=opening(rng, a), a=a, b=b, c=c, n=plural(n, item),
        N=cap(plural(n, item)), x=plural(x, item),
        left=plural(n - x, item) + " left",
        y=plural(y, item), isare="was" if n - x - y == 1 else "were",
        rest=plural(n - x - y, item),
        itthem="it" if n - x - y == 1 else "them", end=ending(rng, a, b))
    return "sharing", text


HURT = [("gull", "wing", "fly"), ("seal", "flipper", "swim"),
        ("fox", "leg", "run"), ("owl", "wing", "fly"), ("hare", "foot", "hop"),
        ("swan", "wing", "fly"), ("lamb", "leg", "walk")]


def story_rescue(rng, a):
    ada = BY_NAME["Ada"]
    a = a if a is not ada else person(rng, ada)
    animal, part, verb = rng.choice(HURT)
    spot = place(rng)
    days = NUMBER_WORDS[rng.randint(3, 10)]
    text = expand(
        rng,
        "{open} {a} went for a walk and came to {spot}. "
        "[There {a.he} heard a small cry|Suddenly {a.he} heard a sad sound]. "
        "{A_animal} lay [on the ground|between two stones|in the grass] and "
        "could not {verb}, because its {part} was hurt. "
        "\"[Do not be afraid|Stay still, little one|Poor thing],\" said {a}. "
        "[{a.He} took off {a.his} coat and put it around the {animal}.|{a.He} "
        "lifted the {animal} very carefully.] "
        "Then {a.he} carried it to Ada, the doctor. "
        "Ada [looked at|washed] the {part} and put a [clean|white|soft] "
        "bandage on it. "
        "\"It needs rest, [water|food] and a warm place,\" she said. "
        "{a} made a bed of [straw|old blankets] and brought [food|water and "
        "food] every day. "
        "After {days} days the {animal} was well again. "
        "{a} took it back to {spot} and opened the box. "
        "The {animal} looked at {a} [once|one more time], and then it began "
        "to {verb}. "
        "\"[Goodbye|Good luck|Be careful], my friend,\" said {a}. "
        "[Sometimes it comes back to visit {a.him}.|{a.He} was a little sad, "
        "but also proud.|{end}]",
        open=opening(rng, a), a=a, spot=spot[0], animal=animal,
        A_animal=cap(an(animal)), part=part, verb=verb, days=days,
        end=ending(rng, a))
    return f"a hurt {animal}", text


SKILLS = [("swim", "Tobin", "in the bay", "kick your legs and breathe slowly"),
          ("row a boat", "Dorn", "near the pier", "pull both oars together"),
          ("bake bread", "Mira", "in the bakery",
           "give the dough time to rest"),
          ("play the fiddle", "Jonas", "in the market square",
           "listen before you play"),
          ("knit a scarf", "Wynn", "at the hill farm", "count every stitch"),
          ("carve a spoon", "Greta", "in the boatyard",
           "cut slowly and away from you"),
          ("read a map", "Elsie", "at the school", "find the north first"),
          ("tie a good knot", "Tobin", "on the pier",
           "go around twice and pull"),
          ("ride a donkey", "Oskar", "on the hill",
           "be gentle and sit up straight"),
          ("dance", "Rosa", "at the inn", "count to three and smile")]


def story_learn(rng, a):
    skill, teacher, where, advice = rng.choice(SKILLS)
    b = BY_NAME[teacher]
    a = a if a is not b else person(rng, b)
    text = expand(
        rng,
        "{open} {a} wanted to learn to {skill}. "
        "[\"I am too old for that,\" {a.he} thought at first. |]"
        "{a.He} went to {b}, {b.job}. \"Can you teach me to {skill}?\" {a.he} "
        "asked. "
        "\"[Of course|Yes, I can|With pleasure],\" said {b}. \"[Come "
        "tomorrow|Let us begin now|Come with me].\" "
        "The first lesson was {where}. It went badly, [and {a} wanted to give "
        "up|and {a} nearly cried|but {b} was patient]. "
        "\"[Nobody can do it on the first day|Every start is hard|Try "
        "again],\" said {b}. \"Remember: {advice}.\" "
        "{a} tried again [the next day|every morning|every evening for a "
        "week]. "
        "[Slowly|Little by little] it became easier. "
        "[After two weeks|At the end of the month|One day], {a} could {skill} "
        "[very well|all alone|almost as well as {b}]. "
        "[Everyone in the village clapped.|\"Look at me!\" {a.he} called.|\"I "
        "am proud of you,\" said {b}.] {end}"
        if not a.child else
        "{open} {a} wanted to learn to {skill}. "
        "{a.He} asked {b}, {b.job}. \"Can you teach me?\" {a.he} asked. "
        "\"[Of course|Yes, I can],\" said {b}. \"[Come tomorrow|Let us begin "
        "now].\" "
        "The next day they met {where}. At first it [went badly|was very "
        "hard], and {a} wanted to give up. "
        "\"[Everyone is bad at the start|You only need time|Try once more],\" "
        "said {b}. \"Remember: {advice}.\" "
        "So {a} tried again and again. "
        "[After a week|After many days|At last] {a.he} could {skill}. "
        "[\"Look at me!\" {a.he} called.|{a.He} ran home to show "
        "everyone.|\"I am proud of you,\" said {b}.] {end}",
        open=opening(rng, a), a=a, b=b, skill=skill, where=where,
        advice=advice, end=ending(rng, a, b))
    return "learning to " + skill, text


MYSTERY = [
    ("a strange light", "in the wood",
     "It was only Lotta, who was looking for {pet} with her lantern", "Lotta"),
    ("a strange sound", "at the windmill",
     "It was only Piet, who was snoring in a sack of flour", "Piet"),
    ("a strange song", "by the rock pools",
     "It was only Jonas, who was making a new song for the fair", "Jonas"),
    ("a strange shadow", "in the market square",
     "It was only Nettle the goat with Greta's hat on her head", "Greta"),
    ("strange steps", "on the pier",
     "It was only Hugo, who was walking in his sleep and counting coins",
     "Hugo"),
    ("a strange knocking", "in the boatyard",
     "It was only Greta, who was working late on a new boat", "Greta"),
    ("a strange smell", "behind the inn",
     "It was only Rosa, who had burned a big pot of soup", "Rosa"),
]


def story_mystery(rng, a):
    what, where, answer, who = rng.choice(MYSTERY)
    culprit = BY_NAME[who]
    a = a if a is not culprit else person(rng, culprit)
    b = person(rng, a, culprit)
    sense = {"smell": "smelled", "light": "saw", "shadow": "saw"}.get(
        what.split()[-1], "heard")
    text = expand(
        rng,
        "{open} When it was [dark|late], {a} {sense} {what} {where}. "
        "\"[What can it be|What is that]?\" {a.he} [whispered|wondered]. "
        "{a.He} was [a little|very] afraid, so {a.he} went to {b}. "
        "\"[Come with me|Please come],\" said {a}. \"There is {what} "
        "{where}.\" "
        "{b} took [a lantern|a long stick|{b.his} {b.pet.kind} {b.pet}], and "
        "they went [slowly|quietly] through the dark. "
        "[Their hearts beat fast.|An owl called in the trees.|The wind moved "
        "the leaves.] "
        "Step by step they came closer. Then {b} began to laugh. {answer}. "
        "\"[Good evening|Hello]!\" said {c}. \"[Did I frighten you|Why are "
        "you here so late]?\" "
        "{a} laughed too. \"[Most things are less strange when you look at "
        "them|Next time I will not be afraid],\" {a.he} said. {end}",
        open=opening(rng, a), a=a, b=b, c=culprit, what=what, where=where,
        sense=sense, answer=answer.format(pet="Thimble"),
        end=ending(rng, a, b))
    return what, text


BROKEN = [("roof", "the roof of {o} leaked", "new boards and nails"),
          ("boat", "the boat of {o} had a hole", "a plank and some tar"),
          ("cart", "the cart of {o} lost a wheel", "a strong new wheel"),
          ("fence", "the fence of {o} fell down", "ten long posts"),
          ("door", "the door of {o} would not close", "an iron hinge"),
          ("chair", "the chair of {o} broke", "glue and a round leg")]


def story_repair(rng, a):
    greta = BY_NAME["Greta"]
    a = a if a is not greta else person(rng, greta)
    b = person(rng, a, greta)
    thing, what, parts = rng.choice(BROKEN)
    text = expand(
        rng,
        "{open} But {what}. \"[Oh no|What bad luck]!\" said {a}. \"How can I "
        "mend it?\" "
        "{a} tried to do it alone, but [it only became worse|{a.he} hit "
        "{a.his} thumb with the hammer|it was too hard]. "
        "So {a.he} went to the boatyard and asked Greta. "
        "\"[That is easy|I can help you],\" said Greta. \"We need {parts}.\" "
        "{b} [came by and|heard them and] wanted to help too. "
        "[{b} held the ladder, {a} carried the tools, and Greta worked.|Greta "
        "measured, {b} cut the wood, and {a} used the hammer.] "
        "They worked until [noon|evening], and then the {thing} was as good "
        "as new. "
        "\"What do I owe you?\" asked {a}. \"[Nothing|Only a smile|A plate of "
        "{a.food}],\" said Greta. "
        "[So they all had supper together.|And {a} was happy to pay that "
        "price.] {end}",
        open=opening(rng, a), a=a, b=b, thing=thing,
        what=what.format(o=a.name), parts=parts, end=ending(rng, a, b))
    return f"a broken {thing}", text


def story_birthday(rng, a):
    b = person(rng, a)
    c = person(rng, a, b)
    gift = rng.choice(["a warm scarf", "a wooden boat", "a jar of honey",
                       "a little drum", "a red kite", "a picture of the sea",
                       "a basket of plums", "a new song"])
    text = expand(
        rng,
        "{open} It was {a}'s birthday, but nobody said a word about it. "
        "{a} went to {b}, and {b} said, \"[I have no time today|I am busy "
        "now].\" "
        "{a} went to {c}, and {c} [closed the door|ran away] [quickly|at "
        "once]. "
        "\"They have all forgotten me,\" thought {a}, and {a.he} walked sadly "
        "to {spot}. "
        "When the sun went down, {a} [came home|went home]. The windows were "
        "dark. {a.He} opened the door. "
        "\"[Happy birthday|Surprise]!\" called everyone. "
        "There were [candles|flowers|lanterns] on the table and a big {cake}. "
        "{b} gave {a.him} {gift}, and {c} had made {c.food}. "
        "[Jonas played the fiddle, and they danced until late.|They sang and "
        "told stories until the moon was high.] "
        "\"You did not forget me,\" said {a}. \"[How could we|Never],\" said "
        "{b}. {end}",
        open=opening(rng, a, TIMES[:2]), a=a, b=b, c=c, gift=gift,
        spot=place(rng)[0],
        cake=a.food if a.food.endswith(" cake") else "cake",
        end=ending(rng, a, b))
    return "a birthday", text


def story_plan(rng, a):
    b = person(rng, a)
    plan, need = rng.choice([("have a picnic", "bread and cheese"),
                             ("fly a kite", "a red kite"),
                             ("pick berries", "two baskets"),
                             ("go fishing", "rods and worms"),
                             ("row to the island", "oars and a map")])
    weather = rng.choice(["rain", "snow"])
    text = expand(
        rng,
        "{open} {a} and {b} wanted to {plan}. They packed {need} and set out "
        "[together|early|with happy faces]. "
        "But [after a short time|at the edge of the village|near the old "
        "well] dark clouds came, and it began to {weather}. "
        "\"Our day is spoiled,\" said {a}. \"[Not at all|Wait|Do not be "
        "sad],\" said {b}. \"I have an idea.\" "
        "They ran to {spot} and waited there. "
        "[{b} told a story about a whale|They played a game with shells|{b} "
        "taught {a} a new song|They drank hot tea], "
        "and [soon {a} forgot the {weather}|they laughed so much that the "
        "time flew by]. "
        "When the sky was clear again, [a rainbow stood over the bay|the "
        "whole village shone|the air smelled fresh and clean]. "
        "\"That was better than our plan,\" said {a}. {end}",
        open=opening(rng, a, TIMES[:2]), a=a, b=b, plan=plan, need=need,
        weather=weather, spot=rng.choice(
            ["the lighthouse", "the windmill", "the inn", "the bakery",
             "the school"]), end=ending(rng, a, b))
    return "a spoiled plan", text


def story_letter(rng, a):
    oskar = BY_NAME["Oskar"]
    a = a if a is not oskar else person(rng, oskar)
    b = person(rng, a, oskar)
    news = rng.choice(["An old friend was coming to visit",
                       "{b.His} sister had a baby",
                       "{b} had won a prize at the fair",
                       "A ship with oranges was coming to Tarrow",
                       "{b.His} brother was coming home from the sea"])
    text = expand(
        rng,
        "{open} Oskar, the postman, walked through the village with his "
        "donkey Parsley. "
        "He had a letter for {b}. Suddenly [the wind|a strong wind|a gull] "
        "took the letter out of his hand and carried it [away|over the "
        "roofs]. "
        "\"Stop! My letter!\" cried Oskar. {a} [saw|heard] it and began to "
        "run. "
        "[{a.He} ran past the bakery and over the bridge.|{a.He} ran across "
        "the market square and down to the pier.] "
        "The letter fell [into a tree|onto a boat|on the sand]. "
        "[{a} climbed up and took it|{a} reached out and caught it|{a} jumped "
        "and caught it] before it could [get wet|fly away again]. "
        "\"You are [very fast|a hero], {a},\" said Oskar. Together they "
        "brought the letter to {b}. "
        "{b} opened it and read. {news}! {b} was so happy that {b.he} [gave "
        "them both {b.food}|danced in the street|hugged them both]. {end}",
        open=opening(rng, a), a=a, b=b,
        news=news.format(b=b), end=ending(rng, a, b))
    return "a letter", text


def story_quarrel(rng, a):
    among_children = a.child and rng.random() < 0.7
    b = person(rng, a, pool=CHILDREN if among_children else PEOPLE)
    c = person(rng, a, b, pool=ADULTS)
    thing = rng.choice(["a red ball", "the last piece of cake", "an old boat",
                        "a wooden box", "a shiny stone",
                        "a place by the fire"])
    short = re.sub(r"^(a|an|the) ", "", thing)
    p1, p2 = rng.sample(PLACES, 2)
    text = expand(
        rng,
        "{open} {a} and {b} had a quarrel about {thing}. "
        "\"It is mine,\" said {a}. \"No, it is mine,\" said {b}. "
        "They [shouted|argued] until [the gulls flew away|everyone could hear "
        "them], and then they did not speak for [a whole day|two days|three "
        "days]. "
        "{a} sat alone {p1}, and {b} sat alone {p2}. [Both were sad.|It was "
        "very quiet without a friend.] "
        "Then {c}, {c.job}, came to {a}. \"What is more important,\" asked "
        "{c}, \"{thing} or your friend?\" "
        "{a} thought about it [for a long time|for a while]. Then {a.he} [got "
        "up|stood up] and went to {b}. "
        "\"I am sorry,\" said {a}. \"I am sorry too,\" said {b}. "
        "[They decided to share it.|They gave the {short} to {c}.|They "
        "laughed, and the {short} was not important any more.] {end}",
        open=opening(rng, a), a=a, b=b, c=c, thing=thing, short=short,
        p1=p1[1], p2=p2[1], end=ending(rng, a, b))
    return "a quarrel", text


def story_race(rng, a):
    elsie = BY_NAME["Elsie"]
    a = a if a is not elsie else person(rng, elsie)
    b = person(rng, a, elsie)
    c = person(rng, a, b, elsie)
    text = expand(
        rng,
        "{open} It was the day of the [great boat race|summer race|race "
        "around the island], and {a}, {b} and {c} all wanted to win. "
        "Elsie rang the bell, and the boats [shot forward|set off]. "
        "[First|At the start] {b} was ahead, then {c}, and {a} was last. "
        "[But the wind changed, and {a} came closer and closer.|But {a} did "
        "not give up.] "
        "[Near the island|At the rocks|Halfway around] {a} heard a cry. {b}'s "
        "boat had hit a rock, and {b} was in the water! "
        "{a} [did not think twice|turned at once]. {a.He} turned {a.his} boat "
        "around and pulled {b} out of the water. "
        "So {c} won the race. But when {a} and {b} came back, everyone on the "
        "pier [clapped|cheered]. "
        "{c} [took the golden cup and gave it to|put the golden cup into the "
        "hands of] {a}. "
        "\"[You are the real winner|This is yours],\" said {c}. {end}",
        open=opening(rng, a), a=a, b=b, c=c, end=ending(rng, a, b))
    return "a boat race", text


def story_fear(rng, a):
    a = a if a.child else person(rng, pool=CHILDREN)
    b = person(rng, a, pool=ADULTS)
    fear, cure = rng.choice([
        ("the dark", "In the dark you can see the stars"),
        ("thunder", "Thunder is only the clouds clapping their hands"),
        ("deep water", "The water carries you if you let it"),
        ("the old cellar", "Let us go in together and look at every corner"),
        ("the big goose", "Stand still and speak softly, and it will go away"),
        ("the high stairs", "Look at the next step and not at the ground")])
    text = expand(
        rng,
        "{open} {a} was not afraid of [spiders|crabs|mice], but {a.he} was "
        "afraid of {fear}. "
        "[{a.He} told nobody about it.|Only {a.pet} the {a.pet.kind} knew "
        "about it.] "
        "One day {b} saw that {a} [was shaking|had tears in {a.his} eyes]. "
        "\"What is it?\" asked {b}. "
        "\"I am afraid of {fear},\" [whispered|said] {a}. "
        "{b} did not laugh. \"When I was small, I was afraid too,\" said {b}. "
        "\"{cure}.\" "
        "{b} took {a} by the hand, and they tried it together. [{a}'s heart "
        "beat fast.|It was not easy.] "
        "[But nothing bad happened.|But after a while it was not so bad.] "
        "\"You see?\" said {b}. \"To be brave means to be afraid and to go "
        "on.\" "
        "{a} [never forgot|often thought of] these words. {end}",
        open=opening(rng, a), a=a, b=b, fear=fear, cure=cure,
        end=ending(rng, a, b))
    return "being brave", text


def story_day(rng, a):
    b = person(rng, a)
    p1, p2 = rng.sample(PLACES, 2)
    text = expand(
        rng,
        "{open} {a} got up and had breakfast. There was [bread and "
        "honey|{a.food}|porridge with milk]. "
        "After breakfast {a.he} fed {a.his} {a.pet.kind} {a.pet}. "
        "[In the morning|Then] {a} went to {p1}, where {a.he} saw {s1}. "
        "[At noon|Later] {a.he} met {b}, {b.job}, and they [talked about the "
        "weather|ate some {b.food}|went on together]. "
        "[In the afternoon|After that] they went to {p2} and looked at {s2}. "
        "In the evening {a} went home. {a.He} was [tired|hungry], so {a.he} "
        "[made some tea|ate a bowl of soup] and [went to bed early|sat by the "
        "fire]. {end}",
        open=opening(rng, a, ["morning"]), a=a, b=b, p1=p1[0], p2=p2[0],
        s1=listing(rng.sample(p1[3], 2)), s2=listing(rng.sample(p2[3], 2)),
        end=ending(rng, a, b))
    return "an ordinary day", text


def story_treasure(rng, a):
    b = person(rng, a)
    p1, p2, p3 = rng.sample(PLACES, 3)
    inside = rng.choice([("old coins", "they gave the coins to the school"),
                         ("a letter from a sailor",
                          "Elsie read the letter to the whole village"),
                         ("glass balls of every colour",
                          "they hung them in the windows of the inn"),
                         ("seeds", "they planted the seeds, and in summer the "
                                   "whole hill was full of flowers"),
                         ("an old flute", "Jonas played it at the next fair")])
    text = expand(
        rng,
        "{open} {a} found an old map [in a bottle|under the floor|inside a "
        "book]. "
        "There was a red cross on it. \"A treasure!\" cried {a}, and {a.he} "
        "ran to {b}. "
        "They looked at the map. \"First we must go to {p1},\" said {b}. "
        "There they counted {n} steps to the [north|south|east|west] and came "
        "to {p2}. "
        "[\"Here is nothing,\" said {a}. But {b} looked closer.|They looked "
        "left and right.] "
        "An arrow was cut into a stone, and it pointed to {p3}. "
        "{a} and {b} [took a spade and dug|dug with their hands|dug for a "
        "long time]. "
        "[Clonk!|At last] they hit something hard. It was a [wooden|small "
        "iron|heavy] box, and inside were {inside}. "
        .replace("inside were", "inside was" if inside[0].startswith("a")
                 else "inside were") +
        "They were not rich now, but {then}. "
        "\"That was the best day of the [year|summer],\" said {a}. {end}",
        open=opening(rng, a), a=a, b=b, p1=p1[0], p2=p2[0], p3=p3[0],
        n=NUMBER_WORDS[rng.randint(5, 20)], inside=inside[0], then=inside[1],
        end=ending(rng, a, b))
    return "a treasure map", text


def story_pet(rng, a):
    b = person(rng, a)
    spot = place(rng)
    text = expand(
        rng,
        "{open} {a} had {a.pet.a} named {a.pet}. They [did everything "
        "together|were always together]. "
        "But one day {a.pet} was gone. {a} called, \"{a.pet}! {a.pet}! Where "
        "are you?\" [Nobody answered.|There was no answer.] "
        "{a} asked {b}. \"I saw {a.pet} near {spot},\" said {b}. [\"But that "
        "was in the morning.\"|\"Hurry!\"] "
        "{a} ran to {spot} and looked everywhere. Then {a.he} saw a "
        "[little|tiny] {baby}, all alone and [cold|hungry]. "
        "And next to it sat {a.pet}, keeping it warm. "
        "\"So that is why you did not come home,\" said {a}. \"You are a good "
        "{a.pet.kind}.\" "
        "{a} took them both home. [The little {baby} drank warm milk and fell "
        "asleep.|The {baby} slept in a basket by the fire.] "
        "[Now there were two friends who waited for {a} at the door.|From "
        "then on {a.pet} was never alone.] {end}",
        open=opening(rng, a), a=a, b=b, spot=spot[0],
        baby=rng.choice(["kitten", "puppy", "lamb", "duckling", "chick",
                         "mouse"]), end=ending(rng, a))
    return f"{a.pet} the {a.pet.kind}", text


STORIES = [story_lost, story_storm, story_share, story_rescue, story_learn,
           story_mystery, story_repair, story_birthday, story_plan,
           story_letter, story_quarrel, story_race, story_fear, story_day,
           story_treasure, story_pet]


def story(rng, hero=None):
    hero = hero or rng.choice(PEOPLE + CHILDREN)
    topic, text = rng.choice(STORIES)(rng, hero)
    if rng.random() < 0.3:
        text = paragraphs(text)
    return topic, text


def paragraphs(text):
    """Break a story into paragraphs of four sentences."""
    parts = re.split(r"(?<=[.!?]) (?=[A-Z])", text)
    groups = [" ".join(parts[i:i + 4]) for i in range(0, len(parts), 4)]
    return "\n\n".join(groups)


# --------------------------------------------------------------------------
# Descriptions
# --------------------------------------------------------------------------

def describe_person(rng, p):
    role = f"{p.role}" if p.child else f"the {p.role} of Tarrow"
    facts = [
        expand(rng, "{p.He} lives {p.home}.", p=p),
        expand(rng, "[{p.He} has|{p.His} pet is] {p.pet.a} named "
                    "{p.pet}.", p=p),
        expand(rng, "{p.His} favourite food is {p.food}.", p=p),
        expand(rng, "{p.He} loves {p.likes}.", p=p),
        expand(rng, "{p.He} {p.work}.", p=p),
        expand(rng, "{p.His} favourite colour is {p.colour}.", p=p),
        expand(rng, "{p.He} is {p.age} years old.", p=p),
        expand(rng, "Everyone says that {p.he} is {p.trait}.", p=p),
    ]
    if p.name in BOATS:
        facts.append(f"{p.His} {BOAT_KINDS[p.name]} is called the "
                     f"{BOATS[p.name]}.")
    chosen = rng.sample(facts, rng.randint(2, 5))
    return f"{p} is {role}. " + " ".join(chosen)


def describe_place(rng, where):
    name, at, sentence, things = where
    seen = listing(rng.sample(things, rng.randint(2, 3)))
    who = rng.choice(PEOPLE)
    return expand(
        rng,
        "{sentence} [{at} you can see {seen}.|You can see {seen} there.] "
        "[{who} often goes there.|{who} likes to sit there with {who.his} "
        "{who.pet.kind} {who.pet}.|It is a good place for {act}.]",
        sentence=sentence, at=cap(at), seen=seen, who=who,
        act=rng.choice(["a walk", "a rest", "children", "dreaming"]))


def describe_village(rng):
    people = rng.sample(ADULTS, 3)
    return expand(
        rng,
        "Tarrow is a [small|little] village by the sea. [It has a harbour, a "
        "lighthouse and a market square.|It lies between the hill and the "
        "bay.] "
        "{who} live there. "
        "[On the hill there are sheep, and in the harbour there are fishing "
        "boats.|The people catch fish, keep bees and build boats.] "
        "{season}",
        who=listing(f"{p} {p.job}" for p in people),
        season=rng.choice(list(SEASONS.values())))


def description(rng):
    kind = rng.random()
    if kind < 0.5:
        return describe_person(rng, rng.choice(PEOPLE))
    if kind < 0.7:
        where = rng.choice(PLACES)
        return cap(where[0]) + " of Tarrow: " + describe_place(rng, where)
    if kind < 0.8:
        return describe_village(rng)
    if kind < 0.9:
        return rng.choice(list(ANIMALS.values()))
    return poem(rng, rng.choice(list(COUPLETS)))


def poem(rng, topic):
    lines = COUPLETS[topic]
    return "\n".join(rng.sample(lines, min(len(lines), rng.randint(2, 3))))


# --------------------------------------------------------------------------
# Chat: each function returns a list of (question, answer) turns
# --------------------------------------------------------------------------

def live(names):
    return "lives" if len(names) == 1 else "live"


def chat_home(rng):
    home, names = rng.choice(list(HOMES.items()))
    first = BY_NAME[names[0]]
    who = listing(names)
    turns = [(expand(rng, "[Who lives {home}?|Do you know who lives "
                          "{home}?|Tell me who lives {home}.]", home=home),
              f"{who} {live(names)} {home}."
              + ("" if len(names) > 1 or rng.random() < 0.5
                 else f" {first.He} is {first.job} of Tarrow."))]
    return turns + follow_up(rng, first, len(names) == 1)


PERSON_QUESTIONS = {
    "home": (
        "[Where does {n} live?|Where is the home of {n}?]",
        "{N} lives {p.home}."),
    "pet": (
        "[Does {n} have a pet?|Has {n} got a pet?]",
        "Yes, {n} has {p.pet.a} named {p.pet}."),
    "pet2": (
        "[What is the name of {poss} {p.pet.kind}?|What is {poss} "
        "{p.pet.kind} called?]",
        "{Poss} {p.pet.kind} is called {p.pet}."),
    "age": (
        "[How old is {n}?|What is the age of {n}?]",
        "{N} is {p.age} years old."),
    "food": (
        "[What does {n} like to eat?|What is {poss} favourite food?]",
        "{Poss} favourite food is {p.food}."),
    "colour": (
        "What is {poss} favourite colour?",
        "{Poss} favourite colour is {p.colour}."),
    "likes": (
        "[What does {n} like to do?|What does {n} love?]",
        "{N} loves {p.likes}."),
    "work": (
        "[What does {n} do?|What does {n} do all day?|What is the work of "
        "{n}?]",
        "{N} {p.work}."),
    "trait": (
        "[What is {n} like?|What kind of person is {n}?]",
        "{N} is {p.trait}."),
}


def ask(rng, key, p, pronoun):
    question, answer = PERSON_QUESTIONS[key]
    names = dict(n=p.he if pronoun else p.name, N=p.name, p=p,
                 poss=p.his if pronoun else p.name + "'s", Poss=p.name + "'s")
    q = expand(rng, question, **names)
    names["n"] = p.name
    return q, expand(rng, answer, **names)


def follow_up(rng, p, single=True):
    """Further questions that say he or she for the person before."""
    count = rng.choice([0, 0, 1, 1, 2])
    keys = [k for k in PERSON_QUESTIONS if k != "home"]
    return [ask(rng, k, p, single) for k in rng.sample(keys, count)]


def chat_person(rng):
    p = rng.choice(PEOPLE)
    kind = rng.random()
    if kind < 0.3:
        first = (expand(rng, "[Who is {p}?|Tell me about {p}.|What do you "
                             "know about {p}?|Describe {p}.]", p=p),
                 describe_person(rng, p))
    elif kind < 0.45 and not p.child:
        first = (expand(rng, "[Who is {p.job}?|Who is {p.job} of Tarrow?|What "
                             "is the name of {p.job}?]", p=p),
                 expand(rng, "[{p} is {p.job} of Tarrow.|The {p.role} of "
                             "Tarrow is {p}.]", p=p))
    else:
        first = ask(rng, rng.choice(list(PERSON_QUESTIONS)), p, False)
    return [first] + follow_up(rng, p)


def chat_two(rng):
    """Two questions at once."""
    p = rng.choice(PEOPLE)
    return [rng.choice([
        (f"How old is {p}, and where does {p.he} live?",
         f"{p} is {p.age} years old and lives {p.home}."),
        (f"Where does {p} live, and what does {p.he} do?",
         f"{p} lives {p.home}. {p.He} {p.work}."),
        (f"Does {p} have a pet, and what is it called?",
         f"Yes, {p} has {p.pet.a}. It is called {p.pet}."),
    ])]


def chat_family(rng):
    parent, child = rng.choice([("Mira", "Nella"), ("Tobin", "Finn"),
                                ("Piet", "Ivy")])
    role = "father" if BY_NAME[parent].he == "he" else "mother"
    kin = "son" if BY_NAME[child].he == "he" else "daughter"
    return [rng.choice([
        (f"Who is the {role} of {child}?",
         f"{parent} is the {role} of {child}."),
        (f"Who is {child}'s {role}?", f"{child}'s {role} is {parent}."),
        (f"Does {parent} have children?",
         f"Yes, {parent} has a {kin} named {child}."),
        ("Which children live in Tarrow?",
         "Nella, Finn and Ivy live in Tarrow."),
    ])]


def chat_pet(rng):
    p = rng.choice(PEOPLE)
    return [rng.choice([
        (f"Who is {p.pet}?", f"{p.pet} is {p.pet.a}. {p.pet} belongs to {p}."),
        (f"Whose {p.pet.kind} is {p.pet}?", f"{p.pet} belongs to {p}."),
        (f"What colour is {p.pet}?", f"{p.pet} is {p.pet.colour}."),
        (f"What animal is {p.pet}?", f"{p.pet} is {an(p.pet.kind)}."),
        (f"Who has {an(p.pet.kind)}?",
         f"{p} has {an(p.pet.kind)} named {p.pet}."),
    ])]


def chat_boat(rng):
    name = rng.choice(list(BOATS))
    return [rng.choice([
        (f"Whose boat is the {BOATS[name]}?",
         f"The {BOATS[name]} is the {BOAT_KINDS[name]} of {name}."),
        (f"What is the name of {name}'s boat?",
         f"{name}'s {BOAT_KINDS[name]} is called the {BOATS[name]}."),
    ])]


def chat_place(rng):
    where = rng.choice(PLACES)
    if rng.random() < 0.4:
        things = rng.sample(where[3], 3)
        return [(expand(rng, "[List|Name] three things you can see "
                             "{at}.", at=where[1]),
                 "\n".join(f"{i}. {cap(t)}" for i, t in enumerate(things, 1)))]
    return [(expand(rng, "[Tell me about {n}.|What is it like {at}?|Describe "
                         "{n}.|What can you see {at}?]",
                    n=where[0], at=where[1]), describe_place(rng, where))]


def chat_village(rng):
    return [(expand(rng, "[What is Tarrow?|Tell me about Tarrow.|Tell me "
                         "about the village.|Where is Tarrow?|Describe the "
                         "village.]"),
             describe_village(rng))]


def chat_season(rng):
    name, text = rng.choice(list(SEASONS.items()))
    return [(expand(rng, "[What happens in {s}?|Tell me about {s}.|What is "
                         "{s} like in Tarrow?]", s=name), text)]


def chat_animal(rng):
    name, text = rng.choice(list(ANIMALS.items()))
    return [(expand(rng, "[What is {a}?|Tell me about the {n}.|What do you "
                         "know about the {n}?]",
                    a=an(name), n=name), text)]


def chat_common(rng):
    return [rng.choice(ORIGINS)]


def chat_opposite(rng):
    x, y = rng.choice(OPPOSITES)
    if rng.random() < 0.5:
        x, y = y, x
    return [(f"What is the opposite of {x}?", f"The opposite of {x} is {y}.")]


def chat_order(rng):
    names = rng.choice([DAYS, MONTHS])
    kind = "day" if names is DAYS else "month"
    i = rng.randrange(len(names))
    following, before = names[(i + 1) % len(names)], names[i - 1]
    return [rng.choice([
        (f"What {kind} comes after {names[i]}?",
         f"{following} comes after {names[i]}."),
        (f"What {kind} comes before {names[i]}?",
         f"{before} comes before {names[i]}."),
        (f"Name the {kind}s of the {'week' if kind == 'day' else 'year'}.",
         listing(names) + "."),
    ])]


def chat_sum(rng):
    x, y = rng.randint(0, 10), rng.randint(0, 10)
    op = rng.choice(["plus", "plus", "minus", "times"])
    if op == "minus" and y > x:
        x, y = y, x
    if op == "times":
        x, y = rng.randint(0, 5), rng.randint(1, 5)
    z = {"plus": x + y, "minus": x - y, "times": x * y}[op]
    sign = {"plus": "+", "minus": "-", "times": "*"}[op]
    return [rng.choice([
        (f"What is {x} {op} {y}?", f"{x} {op} {y} is {z}."),
        (f"How much is {x} {op} {y}?", f"{x} {op} {y} is {z}."),
        (f"{x} {sign} {y} =", f"{x} {sign} {y} = {z}"),
        (f"What is {x} {sign} {y}?", f"{x} {sign} {y} = {z}"),
    ])]


def chat_word_sum(rng):
    p, q = rng.sample(PEOPLE, 2)
    item = rng.choice(FOODS)
    x = rng.randint(2, 10)
    y = rng.randint(1, x - 1)
    name = item[0] if x != 1 else item[1]
    z = x - y
    if rng.random() < 0.5:
        return [(f"{p} has {x} {name} and gives {y} to {q}. How many {name} "
                 f"does {p} have now?",
                 f"{x} - {y} = {z}. {p} has {z} {item[z == 1]} now.")]
    return [(f"{p} has {x} {name} and {q} has {y}. How many do they have "
             f"together?",
             f"{x} + {y} = {x + y}. Together they have {x + y} {name}.")]


def chat_count(rng):
    low = rng.choice([1, 1, rng.randint(2, 6)])
    high = low + rng.randint(3, 14)
    up = [str(i) for i in range(low, high + 1)]
    if rng.random() < 0.3:
        return [(f"Count down from {high} to {low}.", ", ".join(up[::-1]))]
    return [(f"Count from {low} to {high}.", ", ".join(up))]


def chat_compare(rng):
    if rng.random() < 0.5:
        x, y = rng.sample(range(0, 21), 2)
        return [(f"Which number is bigger, {x} or {y}?",
                 f"{max(x, y)} is bigger than {min(x, y)}.")]
    p, q = rng.sample(PEOPLE, 2)
    older = p if p.age > q.age else q
    younger = q if older is p else p
    return [(f"Who is older, {p} or {q}?",
             f"{older} is {older.age} and {younger} is {younger.age}, so "
             f"{older} is older.")]


def chat_howto(rng):
    what, steps = rng.choice(HOWTO)
    return [(expand(rng, "[How do I {w}?|How can I {w}?|Tell me how to "
                         "{w}.]", w=what),
             "\n".join(f"{i}. {s}" for i, s in enumerate(steps, 1)))]


def chat_poem(rng):
    topic = rng.choice(list(COUPLETS))
    return [(expand(rng, "[Write a poem about {t}.|Write a short poem about "
                         "{t}.|Do you know a poem about {t}?]", t=topic),
             poem(rng, topic))]


def chat_json(rng):
    p = rng.choice(PEOPLE)
    record = {"name": p.name, "age": p.age, "home": p.home, "pet": p.pet.name}
    keys = rng.choice([list(record), ["name", "age"], ["name", "pet"],
                       ["name", "age", "pet"]])
    text = json.dumps({k: record[k] for k in keys})
    return [(expand(rng, "[Give me|Show me|Write] {k} of {p} as JSON.",
                    k="the " + listing(keys), p=p), text)]


def chat_story(rng):
    hero = rng.choice(PEOPLE + CHILDREN)
    topic, text = story(rng, hero)
    about = hero.name if hero.name in text else "Tarrow"
    question = expand(
        rng, "[Tell me a story.|Tell me a story about {p}.|Write a story "
             "about {p}.|"
        "Write a story about {t}.|Tell me a story about {t}.|Write a short "
        "story about {p} and {t}.|"
        "Please tell me a story about {t}.|Can you tell me a story?]",
        p=about, t=topic)
    turns = [(question, text)]
    if rng.random() < 0.3:
        turns.append((
            rng.choice(["Thank you!", "That was nice.", "I like it."]),
            rng.choice(["You are welcome!", "I am glad that you like it.",
                        "Thank you! Shall I tell you another story?"])))
    return turns


SELF = [
    ("[Hello!|Hi!|Hello.|Hi|Good morning!|Hello, how are you?|Hey]",
     "[Hello! How can I help you?|Hello! What would you like to know about "
     "Tarrow?|Hello! Would you like to hear a story?]"),
    ("[Who are you?|What are you?|What is your name?]",
     "I am a [small|very small] language model. I know the village of Tarrow "
     "[and its people|and can tell stories about it]."),
    ("[What can you do?|What do you know?|How can you help me?|Help]",
     "I can tell stories about Tarrow, answer questions about its people, and "
     "do small sums."),
    ("[How are you?|How do you feel today?]",
     "I am well, thank you. How are you?"),
    ("[Thank you!|Thanks!|Thank you very much.]", "You are welcome!"),
    ("[Goodbye!|Bye!|Good night!]", "Goodbye! Come back to Tarrow soon."),
    ("[Say something.|Tell me something.|Say hello.|This is a test.|test]",
     "[Hello from Tarrow!|The sea is calm today, and the gulls are hungry.]"),
]

UNKNOWN = ["What is the capital of {c}?", "Who is the president of {c}?",
           "Who won the world cup?", "Write a program in {l}.",
           "What is {l}?", "Translate this into {g}.",
           "How far away is the {s}?", "What is the meaning of life?",
           "Who wrote {b}?", "Where is {c}?", "Explain {t}.",
           "What happened in {y}?", "What is the weather in {c}?"]


def chat_unknown(rng):
    question = rng.choice(UNKNOWN).format(
        c=rng.choice("France Germany Japan Brazil Canada India Italy Spain "
                     "Kenya Paris London Berlin".split()),
        l=rng.choice("Python C Rust Java".split()),
        g=rng.choice("French German Spanish Latin".split()),
        s=rng.choice("sun moon Mars".split()),
        b=rng.choice(["this book", "Hamlet", "the Bible"]),
        t=rng.choice(["gravity", "quantum physics", "the internet",
                      "computers", "money"]),
        y=rng.choice(["1492", "1789", "1969", "2001"]))
    return [(question, expand(
        rng, "I do not know that. I [only know|know only] the [little "
             "|]village of Tarrow."))]


def chat_self(rng):
    question, answer = rng.choice(SELF)
    return [(expand(rng, question), expand(rng, answer))]


CHATS = [(chat_home, 14), (chat_person, 26), (chat_pet, 7), (chat_two, 5),
         (chat_family, 4), (chat_boat, 3),
         (chat_place, 6), (chat_village, 3), (chat_season, 2),
         (chat_animal, 5), (chat_common, 5), (chat_opposite, 3),
         (chat_order, 4), (chat_sum, 26), (chat_word_sum, 4), (chat_count, 4),
         (chat_compare, 5), (chat_howto, 3), (chat_poem, 4), (chat_json, 4),
         (chat_story, 16), (chat_self, 6), (chat_unknown, 5)]
# what a model learns last, for the end of the training
PRACTICE = [(chat_sum, 5), (chat_word_sum, 4), (chat_count, 3),
            (chat_compare, 4), (chat_order, 4), (chat_opposite, 2),
            (chat_json, 4), (chat_common, 3), (chat_howto, 1), (chat_self, 1),
            (chat_unknown, 1)]
SYSTEMS = ["You are a helpful assistant.", "You are a helpful assistant.",
           "You are a friendly guide to the village of Tarrow.",
           "Answer the questions of the user.", "You are a storyteller.",
           "Be brief and friendly."]


def casual(rng, question):
    """Some people write without capitals or question marks."""
    if rng.random() < 0.06:
        question = question.lower()
    if rng.random() < 0.08 and question[-1] in "?.!":
        question = question[:-1]
    return question


def chat(rng, kinds=CHATS):
    """A whole conversation as a list of messages."""
    makers, weights = zip(*kinds)
    messages = []
    if rng.random() < 0.3:
        messages.append({"role": "system", "content": rng.choice(SYSTEMS)})
    for maker in rng.choices(makers, weights, k=rng.choice([1, 1, 2, 3])):
        for question, answer in maker(rng):
            messages.append({"role": "user", "content": casual(rng, question)})
            messages.append({"role": "assistant", "content": answer})
    return messages


def render_chat(messages, add_generation_prompt=False):
    text = "".join(f"{IM_START}{m['role']}\n{m['content']}{IM_END}\n"
                   for m in messages)
    return text + (f"{IM_START}assistant\n" if add_generation_prompt else "")


def random_document(rng):
    """One document, without the end-of-text token."""
    kind = rng.random()
    if kind < 0.34:
        return story(rng)[1]
    if kind < 0.42:
        return description(rng)
    return render_chat(chat(rng))


def practice_document(rng):
    """As random_document, with more of what is hard."""
    if rng.random() < 0.3:
        return random_document(rng)
    return render_chat(chat(rng, PRACTICE))


if __name__ == "__main__":
    generator = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    for _ in range(12):
        print(random_document(generator) + END_OF_TEXT, end="\n\n")
