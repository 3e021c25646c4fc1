"""Names for a seeded campus. All of our own making; no person and no university is meant."""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """A department and what it teaches."""

    code: str
    name: str
    topics: tuple[str, ...]


SUBJECTS = (
    Subject("MATH", "Mathematics", ("Calculus", "Linear Algebra", "Probability", "Discrete Mathematics", "Analysis",
        "Number Theory", "Geometry", "Differential Equations", "Combinatorics", "Topology")),
    Subject("CSCI", "Computer Science", ("Programming", "Data Structures", "Operating Systems", "Computer Networks",
        "Databases", "Algorithms", "Machine Learning", "Compilers", "Computer Security", "Distributed Systems")),
    Subject("PHYS", "Physics", ("Mechanics", "Electromagnetism", "Optics", "Thermodynamics", "Quantum Physics",
        "Astrophysics", "Solid State Physics", "Relativity", "Acoustics", "Fluid Mechanics")),
    Subject("CHEM", "Chemistry", ("General Chemistry", "Organic Chemistry", "Physical Chemistry", "Biochemistry",
        "Analytical Chemistry", "Inorganic Chemistry", "Materials Chemistry", "Spectroscopy")),
    Subject("BIOL", "Biology", ("Cell Biology", "Genetics", "Ecology", "Evolution", "Microbiology", "Physiology",
        "Neurobiology", "Plant Biology", "Marine Biology", "Immunology")),
    Subject("ENGR", "Engineering", ("Statics", "Dynamics", "Circuits", "Materials", "Control Systems", "Robotics",
        "Manufacturing", "Energy Systems", "Signals and Systems")),
    Subject("STAT", "Statistics", ("Statistics", "Regression", "Bayesian Methods", "Experimental Design", "Time Series",
        "Survey Sampling", "Statistical Computing")),
    Subject("ECON", "Economics", ("Microeconomics", "Macroeconomics", "Econometrics", "Game Theory", "Public Finance",
        "International Trade", "Labor Economics", "Behavioral Economics")),
    Subject("PSYC", "Psychology", ("Psychology", "Cognition", "Perception", "Social Psychology",
        "Developmental Psychology", "Clinical Psychology", "Memory", "Motivation")),
    Subject("HIST", "History", ("World History", "Ancient History", "Medieval History", "Economic History",
        "History of Science", "Urban History", "Maritime History")),
    Subject("PHIL", "Philosophy", ("Logic", "Ethics", "Epistemology", "Metaphysics", "Political Philosophy",
        "Philosophy of Mind", "Aesthetics")),
    Subject("LITR", "Literature", ("Poetry", "The Novel", "Drama", "Comparative Literature", "World Literature",
        "Literary Theory", "Creative Writing")),
    Subject("LING", "Linguistics", ("Phonetics", "Syntax", "Semantics", "Sociolinguistics", "Language Acquisition",
        "Computational Linguistics")),
    Subject("POLS", "Political Science", ("Comparative Politics", "International Relations", "Public Policy",
        "Constitutional Law", "Political Theory", "Elections")),
    Subject("SOCI", "Sociology", ("Sociology", "Social Networks", "Urban Sociology", "Demography", "Inequality",
        "Organizations")),
    Subject("ANTH", "Anthropology", ("Anthropology", "Archaeology", "Ethnography", "Human Evolution",
        "Material Culture")),
    Subject("GEOL", "Earth Sciences", ("Geology", "Oceanography", "Climate", "Seismology", "Hydrology", "Mineralogy")),
    Subject("MUSC", "Music", ("Harmony", "Music History", "Composition", "Ear Training", "Orchestration",
        "Sound Design")),
    Subject("ARTS", "Visual Arts", ("Drawing", "Painting", "Sculpture", "Photography", "Art History", "Printmaking")),
    Subject("COMM", "Communication", ("Media Studies", "Rhetoric", "Journalism", "Film Studies",
        "Visual Communication")),
    Subject("BUSN", "Business", ("Accounting", "Marketing", "Finance", "Operations", "Strategy", "Entrepreneurship")),
    Subject("PUBH", "Public Health", ("Epidemiology", "Global Health", "Health Policy", "Nutrition", "Biostatistics")),
    Subject("EDUC", "Education", ("Learning Theory", "Curriculum", "Assessment", "Educational Technology")),
    Subject("ENVS", "Environmental Studies", ("Conservation", "Environmental Policy", "Sustainability", "Land Use")),
)  # fmt: skip

TITLES = (
    ("Introduction to {}", "Principles of {}", "Intermediate {}", "Advanced {}"),
    ("{} I", "{} II", "{} III", "{} IV"),
    ("Foundations of {}", "Methods of {}", "Applied {}", "Research in {}"),
)
"""Series of four courses of rising level."""

BUILDINGS = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Hazel", "Juniper", "Linden", "Maple", "Oak", "Poplar")

HOLDS = ("library_fee", "tuition_due", "advising_required", "immunization_record")
