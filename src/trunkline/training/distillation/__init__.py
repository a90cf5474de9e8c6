"""Distillation: a smaller trunk, the student, learns the layer states of a frozen one, the teacher, from texts without labels.

config.py what a config may say;  data.py the texts;  student.py the student's modules and first weights;  losses.py what is
compared with what;  learner.py, loop.py the training;  folder.py the folder that is written;  distillation.py all of it
together;  distilling.py `distill`.

Sources, each read in published code: DistilBERT (Sanh et al. 2019, arXiv 1910.01108; huggingface/transformers,
examples/research_projects/distillation), TinyBERT (Jiao et al. 2020, arXiv 1909.10351; huawei-noah/Pretrained-Language-Model)
and MiniLMv2 (Wang et al. 2021, arXiv 2012.15828; bloomberg/minilmv2.bb, as microsoft/unilm has models and no training code).
"""
