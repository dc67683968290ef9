"""How good samples are: scores of features, each with an interval and with what real images score at the same n.

    x = df.metrics.digits()(images)                         # features, by the shipped extractor
    df.metrics.fid(x, df.metrics.shipped())                 # 4.1 (3.9 to 4.3)
    print(df.evaluate(model, 10_000, data=train, held_out=test))

One subject a file: what sees the pictures (`extractor`), mean and covariance of what it saw (`statistics`), a score
(`score`), one file for each score, all of them together (`evaluation`, `report`).
"""

from diffusion.metrics.accuracy import Evaluation, judge, reading
from diffusion.metrics.evaluation import evaluate
from diffusion.metrics.extractor import Extractor, Features, digits, extractor, pixels
from diffusion.metrics.frechet import fid, frechet
from diffusion.metrics.inception import inception_score
from diffusion.metrics.kernel import kid
from diffusion.metrics.memorisation import Ideal, Memorisation, memorisation, nearest, to_ideal
from diffusion.metrics.neighbours import precision, recall
from diffusion.metrics.report import Report
from diffusion.metrics.score import Score
from diffusion.metrics.statistics import Statistics, shipped
from diffusion.metrics.trained import trained

__all__ = [
    "Evaluation", "Extractor", "Features", "Ideal", "Memorisation", "Report", "Score", "Statistics", "digits",
    "evaluate", "extractor", "fid", "frechet", "inception_score", "judge", "kid", "memorisation", "nearest", "pixels",
    "precision", "reading", "recall", "shipped", "to_ideal",
    "trained",
]
