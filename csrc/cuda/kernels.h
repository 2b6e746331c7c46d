// Runs the body of a filter for all of its work: on a CUDA stream or, for the tests, in a plain host loop.
//
// kernels.cu has no torch header and this one no CUDA header, so that each is compiled by what it needs
// alone.
#pragma once

#include "bodies.h"
#include "cells.h"
#include "centres.h"
#include "diagonals.h"
#include "gradient_sinks.h"
#include "map_cells.h"
#include "map_features.h"
#include "octet_cells.h"
#include "octet_maps.h"
#include "octet_propagation.h"
#include "octet_sums.h"
#include "pixels.h"
#include "statistics.h"
#include "sums.h"
#include "tails.h"
#include "wrapped.h"
#include "wrapped_passes.h"

namespace contextual_attention::cuda {

using Stream = void*;

// Null, or what CUDA says has gone wrong with the launch.
template <class Body>
const char* launch(const Body& body, Stream stream);

template <class Body>
void loop(const Body& body);

// Makes a device the current one of this module's own copy of the CUDA runtime, which torch's guards do not
// reach: in a thread that has launched nothing yet it would be device 0. Null, or what has gone wrong.
const char* use_device(int32_t device);

// The level 2 cache of a device, what the threads of a block may share, and its memory in bytes, 0 where they
// cannot be found out.
int64_t cache_bytes(int32_t device);
int64_t shared_bytes(int32_t device);
int64_t memory_bytes(int32_t device);

// Every body that the pipeline runs, but those of marches (gram_sums.h).
#define CA_FOR_EACH_BODY(X)                                 \
  X(DiagonalSum3<Plain, ScoreSink<ScoreKind::plain>>)       \
  X(DiagonalSum3<Plain, ScoreSink<ScoreKind::logits>>)      \
  X(DiagonalSum3<Plain, ScoreSink<ScoreKind::weights>>)     \
  X(DiagonalSum3<Plain, NormProductSink>)                   \
  X(DiagonalSum3<Plain, LogitGradientSink>)                 \
  X(DiagonalSum3<Gained, ScoreSink<ScoreKind::valid_only>>) \
  X(DiagonalSum3<Plain, OperandSink>)                       \
  X(DiagonalSum<Plain, ScoreSink<ScoreKind::plain>>)        \
  X(DiagonalSum<Plain, ScoreSink<ScoreKind::logits>>)       \
  X(DiagonalSum<Plain, ScoreSink<ScoreKind::weights>>)      \
  X(DiagonalSum<Plain, NormProductSink>)                    \
  X(DiagonalSum<Plain, LogitGradientSink>)                  \
  X(DiagonalSum<Gained, ScoreSink<ScoreKind::valid_only>>)  \
  X(DiagonalSum<Plain, OperandSink>)                        \
  X(WrappedSum<ScoreKind::plain>)                           \
  X(WrappedSum<ScoreKind::logits>)                          \
  X(WrappedSum<ScoreKind::weights>)                         \
  X(WrappedPass3<ScoreKind::plain>)                         \
  X(WrappedPass3<ScoreKind::logits>)                        \
  X(WrappedPass3<ScoreKind::weights>)                       \
  X(WrappedSum3<ScoreKind::logits>)                         \
  X(WrappedSum3<ScoreKind::weights>)                        \
  X(CellSum<1, float>)                                      \
  X(CellSum<1, Bfloat16>)                                   \
  X(CellSum<1, Logit>)                                      \
  X(CellSum<3, float>)                                      \
  X(CellSum<3, Bfloat16>)                                   \
  X(CellSum<3, Logit>)                                      \
  X(CellSumAny<float>)                                      \
  X(CellSumAny<Logit>)                                      \
  X(CellGradient<ValidSink>)                                \
  X(CellGradient<AttentionGradientSink>)                    \
  X(CellGradient<LogitGradientSink>)                        \
  X(OctetSum3<PlainOctets, SimilarityOctets>)               \
  X(OctetSum3<PlainOctets, LogitOctets>)                    \
  X(OctetSum3<PlainOctets, WeightOctets<Bfloat16>>)         \
  X(OctetSum3<PlainOctets, WeightOctets<Float16>>)          \
  X(OctetSum3<WrappedOctets, LogitOctets>)                  \
  X(PastedWeights<1, Logit, Bfloat16>)                      \
  X(PastedWeights<1, Logit, Float16>)                       \
  X(PastedWeights<1, Bfloat16, Bfloat16>)                   \
  X(PastedWeights<1, Float16, Float16>)                     \
  X(PastedWeights<3, Bfloat16, Bfloat16>)                   \
  X(PastedWeights<3, Float16, Float16>)                     \
  X(PropagatedCells<Bfloat16>)                              \
  X(PropagatedCells<Float16>)                               \
  X(FactorRows)                                             \
  X(BackgroundColumns<Bfloat16>)                            \
  X(BackgroundColumns<Float16>)                             \
  X(TakeTapSums)                                            \
  X(PadLines<uint16_t>)                                     \
  X(PadLines<Vector>)                                       \
  X(TapBits)                                                \
  X(RowStatistics<float>)                                   \
  X(RowStatistics<Bfloat16>)                                \
  X(RowStatistics<Logit>)                                   \
  X(WeighRows)                                              \
  X(FollowRows)                                             \
  X(CentreSums)                                             \
  X(ShiftedCentreSums)                                      \
  X(RowOffsetsOfLargest)                                    \
  X(FinishStatistics)                                       \
  X(FinishCentres)                                          \
  X(Pack<uint16_t>)                                         \
  X(Pack<Vector>)                                           \
  X(AddToMap)                                               \
  X(SumLines)                                               \
  X(SumColumns)                                             \
  X(AddSums)                                                \
  X(TailTerms<Bfloat16>)                                    \
  X(TailTerms<Float16>)                                     \
  X(TailColumns<Bfloat16>)                                  \
  X(TailColumns<Float16>)                                   \
  X(Cut<uint8_t>)                                           \
  X(Cut<uint16_t>)                                          \
  X(Cut<uint32_t>)                                          \
  X(Cut<uint64_t>)                                          \
  X(Join<uint8_t>)                                          \
  X(Join<uint16_t>)                                         \
  X(Join<uint32_t>)                                         \
  X(Join<uint64_t>)                                         \
  X(Paste<float>)                                           \
  X(Paste<Bfloat16>)                                        \
  X(Paste<Float16>)                                         \
  X(Lift<float, float>)                                     \
  X(Lift<Bfloat16, Bfloat16>)                               \
  X(Lift<Bfloat16, float>)                                  \
  X(Lift<Float16, Float16>)                                 \
  X(Lift<Float16, float>)                                   \
  X(Pick<float>)                                            \
  X(Pick<Bfloat16>)                                         \
  X(Pick<Float16>)                                          \
  X(DownscaleMask)                                          \
  X(FindCandidates)                                         \
  X(Spread)                                                 \
  X(FindRead)                                               \
  X(FinishPositions)                                        \
  X(NormSlopes)                                             \
  X(Place<float>)                                           \
  X(Place<Bfloat16>)                                        \
  X(Place<Float16>)

}  // namespace contextual_attention::cuda
