"""Names for a seeded campus. All are invented; no person and no university is meant."""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """A department and what it teaches."""

    code: str
    name: str
    topics: tuple[str, ...]


# Course codes are unique in the whole database: none of these is a subject of the catalogues that are imported.
SUBJECTS = (
    Subject("MAT", "Mathematics", ("Calculus", "Linear Algebra", "Probability", "Discrete Mathematics", "Analysis",
        "Number Theory", "Geometry", "Differential Equations", "Combinatorics", "Topology")),
    Subject("CSC", "Computer Science", ("Programming", "Data Structures", "Operating Systems", "Computer Networks",
        "Databases", "Algorithms", "Machine Learning", "Compilers", "Computer Security", "Distributed Systems")),
    Subject("PHY", "Physics", ("Mechanics", "Electromagnetism", "Optics", "Thermodynamics", "Quantum Physics",
        "Astrophysics", "Solid State Physics", "Relativity", "Acoustics", "Fluid Mechanics")),
    Subject("CHM", "Chemistry", ("General Chemistry", "Organic Chemistry", "Physical Chemistry", "Biochemistry",
        "Analytical Chemistry", "Inorganic Chemistry", "Materials Chemistry", "Spectroscopy")),
    Subject("BIO", "Biology", ("Cell Biology", "Genetics", "Ecology", "Evolution", "Microbiology", "Physiology",
        "Neurobiology", "Plant Biology", "Marine Biology", "Immunology")),
    Subject("EGR", "Engineering", ("Statics", "Dynamics", "Circuits", "Materials", "Control Systems", "Robotics",
        "Manufacturing", "Energy Systems", "Signals and Systems")),
    Subject("STA", "Statistics", ("Statistics", "Regression", "Bayesian Methods", "Experimental Design", "Time Series",
        "Survey Sampling", "Statistical Computing")),
    Subject("ECO", "Economics", ("Microeconomics", "Macroeconomics", "Econometrics", "Game Theory", "Public Finance",
        "International Trade", "Labor Economics", "Behavioral Economics")),
    Subject("PSL", "Psychology", ("Psychology", "Cognition", "Perception", "Social Psychology",
        "Developmental Psychology", "Clinical Psychology", "Memory", "Motivation")),
    Subject("HIS", "History", ("World History", "Ancient History", "Medieval History", "Economic History",
        "History of Science", "Urban History", "Maritime History")),
    Subject("PHL", "Philosophy", ("Logic", "Ethics", "Epistemology", "Metaphysics", "Political Philosophy",
        "Philosophy of Mind", "Aesthetics")),
    Subject("LTR", "Literature", ("Poetry", "The Novel", "Drama", "Comparative Literature", "World Literature",
        "Literary Theory", "Creative Writing")),
    Subject("LNG", "Linguistics", ("Phonetics", "Syntax", "Semantics", "Sociolinguistics", "Language Acquisition",
        "Computational Linguistics")),
    Subject("PLS", "Political Science", ("Comparative Politics", "International Relations", "Public Policy",
        "Constitutional Law", "Political Theory", "Elections")),
    Subject("SOC", "Sociology", ("Sociology", "Social Networks", "Urban Sociology", "Demography", "Inequality",
        "Organizations")),
    Subject("ANT", "Anthropology", ("Anthropology", "Archaeology", "Ethnography", "Human Evolution",
        "Material Culture")),
    Subject("GEO", "Earth Sciences", ("Geology", "Oceanography", "Climate", "Seismology", "Hydrology", "Mineralogy")),
    Subject("MUC", "Music", ("Harmony", "Music History", "Composition", "Ear Training", "Orchestration",
        "Sound Design")),
    Subject("ART", "Visual Arts", ("Drawing", "Painting", "Sculpture", "Photography", "Art History", "Printmaking")),
    Subject("CMU", "Communication", ("Media Studies", "Rhetoric", "Journalism", "Film Studies",
        "Visual Communication")),
    Subject("BUS", "Business", ("Accounting", "Marketing", "Finance", "Operations", "Strategy", "Entrepreneurship")),
    Subject("PBH", "Public Health", ("Epidemiology", "Global Health", "Health Policy", "Nutrition", "Biostatistics")),
    Subject("EDC", "Education", ("Learning Theory", "Curriculum", "Assessment", "Educational Technology")),
    Subject("ENS", "Environmental Studies", ("Conservation", "Environmental Policy", "Sustainability", "Land Use")),
)  # fmt: skip

TITLES = (
    ("Introduction to {}", "Principles of {}", "Intermediate {}", "Advanced {}"),
    ("{} I", "{} II", "{} III", "{} IV"),
    ("Foundations of {}", "Methods of {}", "Applied {}", "Research in {}"),
)
"""Series of four courses of rising level."""

BUILDINGS = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Hazel", "Juniper", "Linden", "Maple", "Oak", "Poplar")

HOLDS = ("library_fee", "tuition_due", "advising_required", "immunization_record")
