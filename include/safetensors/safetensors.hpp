/* SPDX-License-Identifier: Apache-2.0 */
/**
 * safetensors.hpp: safetensors.h for C++17. Owners release by themselves, failures are thrown as
 * safetensors::error, names are std::string_view.
 *
 *     safetensors::file file("model.safetensors");
 *     for (const st_tensor &tensor : file)
 *         std::cout << safetensors::name(tensor) << '\n';
 *     std::vector<std::byte> bytes = file.read(file.at("weight"), "0, :8");
 *     for (safetensors::loaded &one : safetensors::load(file))
 *         use(file[one.item], one.data, std::move(one.buffer));
 *
 *     safetensors::writer writer;
 *     std::size_t w = writer.add("w", ST_F32, {2, 3});
 *     safetensors::sink sink("new.safetensors");
 *     writer.begin(sink);
 *     writer.write(w, memory, 24);
 *     writer.finish();
 *
 * The C types are used as they are: what this header lacks is called in C on `get()`.
 */
#ifndef SAFETENSORS_SAFETENSORS_HPP
#define SAFETENSORS_SAFETENSORS_HPP

#include <safetensors/checkpoint.h>
#include <safetensors/load.h>
#include <safetensors/safetensors.h>

#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace safetensors
{

/** A failure: what() is the message, which names file, tensor and numbers. */
class error : public std::runtime_error
{
  public:
    explicit error(const st_error &what) : std::runtime_error(what.message), error_(what)
    {
    }

    st_status status() const noexcept
    {
        return error_.status;
    }

    /** Absolute byte offset in the file, or ST_NO_OFFSET. */
    std::uint64_t offset() const noexcept
    {
        return error_.offset;
    }

    const st_error &get() const noexcept
    {
        return error_;
    }

  private:
    st_error error_;
};

/** Throws unless `status`, returned by a call that filled `what`, is ST_OK. */
inline void check(st_status status, const st_error &what)
{
    if (status != ST_OK)
        throw error(what);
}

inline std::string_view name(const st_tensor &tensor) noexcept
{
    return {tensor.name, tensor.name_len};
}

/** Calls one of the library's functions that give an object back. */
template <auto Release> struct releaser {
    template <class T> void operator()(T *object) const noexcept
    {
        Release(object);
    }
};

/** Owners of single references; get() and release() are std::unique_ptr's. */
using context_ptr = std::unique_ptr<st_context, releaser<st_context_release>>;
using buffer_ptr = std::unique_ptr<st_buffer, releaser<st_buffer_release>>;
using header_ptr = std::unique_ptr<st_header, releaser<st_header_release>>;
using source_ptr = std::unique_ptr<st_source, releaser<st_source_release>>;
using sink_ptr = std::unique_ptr<st_sink, releaser<st_sink_release>>;

/** A part of a tensor: see st_region. */
class region
{
  public:
    region(const st_tensor &tensor, std::string_view index, st_context *context = nullptr)
    {
        st_error what;
        check(st_region_parse(&region_, context, &tensor, index.data(), index.size(), &what), what);
    }

    region(const st_tensor &tensor, const st_index *index, std::size_t count,
           st_context *context = nullptr)
    {
        st_error what;
        check(st_region_init(&region_, context, &tensor, index, count, &what), what);
    }

    region(const region &) = delete;
    region &operator=(const region &) = delete;

    ~region()
    {
        st_region_release(&region_);
    }

    const st_region *get() const noexcept
    {
        return &region_;
    }

    std::uint64_t size() const noexcept
    {
        return region_.size;
    }

    std::vector<std::uint64_t> shape() const
    {
        return {region_.shape, region_.shape + region_.out_ndim};
    }

  private:
    st_region region_{};
};

/** An open file, and a range of its tensors in the order of their data. Movable. */
class file
{
  public:
    explicit file(const std::string &path, const st_open_options *options = nullptr)
    {
        st_error what;
        st_file *opened = nullptr;
        check(st_file_open(path.c_str(), options, &opened, &what), what);
        file_.reset(opened);
    }

    explicit file(st_source *source, const st_open_options *options = nullptr)
    {
        st_error what;
        st_file *opened = nullptr;
        check(st_file_open_source(source, options, &opened, &what), what);
        file_.reset(opened);
    }

    /** Takes the memory over on success: see st_file_open_memory. */
    explicit file(const st_memory &memory, const st_open_options *options = nullptr)
    {
        st_error what;
        st_file *opened = nullptr;
        check(st_file_open_memory(&memory, options, &opened, &what), what);
        file_.reset(opened);
    }

    const st_file *get() const noexcept
    {
        return file_.get();
    }

    std::size_t size() const noexcept
    {
        return st_file_count(get());
    }

    const st_tensor &operator[](std::size_t index) const
    {
        return *st_file_at(get(), index);
    }

    /** Finds a tensor by name; nullptr if there is none. */
    const st_tensor *find(std::string_view name) const noexcept
    {
        return st_file_find(get(), name.data(), name.size());
    }

    /** Finds a tensor by name. Throws std::out_of_range if there is none. */
    const st_tensor &at(std::string_view name) const
    {
        const st_tensor *tensor = find(name);
        if (!tensor)
            throw std::out_of_range(std::string(st_file_name(get())) + ": no tensor \"" +
                                    std::string(name) + "\"");
        return *tensor;
    }

    /** Finds a metadata value by key; the default view, whose data() is nullptr, if there is none. */
    std::string_view metadata(std::string_view key) const noexcept
    {
        const st_metadata *entry =
            st_header_metadata_find(st_file_header(get()), key.data(), key.size());
        return entry ? std::string_view(entry->value, static_cast<std::size_t>(entry->value_len))
                     : std::string_view();
    }

    void read(const st_tensor &tensor, void *memory, std::size_t size) const
    {
        st_error what;
        check(st_file_read(get(), &tensor, nullptr, memory, size, &what), what);
    }

    void read(const st_tensor &tensor, const region &part, void *memory, std::size_t size) const
    {
        st_error what;
        check(st_file_read(get(), &tensor, part.get(), memory, size, &what), what);
    }

    std::vector<std::byte> read(const st_tensor &tensor) const
    {
        std::vector<std::byte> bytes(static_cast<std::size_t>(st_tensor_size(&tensor)));
        read(tensor, bytes.data(), bytes.size());
        return bytes;
    }

    /** Reads the part that an index such as "0, :8" selects. */
    std::vector<std::byte> read(const st_tensor &tensor, std::string_view index) const
    {
        region part(tensor, index);
        std::vector<std::byte> bytes(static_cast<std::size_t>(part.size()));
        read(tensor, part, bytes.data(), bytes.size());
        return bytes;
    }

    /** Tells how read() would get its bytes now; without a tensor, how all of them would be read. */
    st_explanation explain(const st_tensor *tensor = nullptr, const region *part = nullptr) const
    {
        st_error what;
        st_explanation told{};
        check(st_file_explain(get(), tensor, part ? part->get() : nullptr, &told, &what), what);
        return told;
    }

    /** Maps the whole file; a tensor's bytes are at st_file_offset. Mind the caveats of safetensors.h. */
    buffer_ptr map(std::uint32_t mode = ST_MAP_SHARED) const
    {
        st_error what;
        st_buffer *buffer = nullptr;
        check(st_file_map(get(), mode, &buffer, &what), what);
        return buffer_ptr(buffer);
    }

    /** Walks the tensors. */
    class iterator
    {
      public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = st_tensor;
        using difference_type = std::ptrdiff_t;
        using pointer = const st_tensor *;
        using reference = const st_tensor &;

        iterator() = default;
        iterator(const st_file *file, std::size_t index) : file_(file), index_(index)
        {
        }

        reference operator*() const
        {
            return *st_file_at(file_, index_);
        }

        pointer operator->() const
        {
            return st_file_at(file_, index_);
        }

        iterator &operator++()
        {
            ++index_;
            return *this;
        }

        iterator operator++(int)
        {
            iterator before = *this;
            ++index_;
            return before;
        }

        friend bool operator==(const iterator &a, const iterator &b)
        {
            return a.index_ == b.index_;
        }

        friend bool operator!=(const iterator &a, const iterator &b)
        {
            return !(a == b);
        }

      private:
        const st_file *file_ = nullptr;
        std::size_t index_ = 0;
    };

    iterator begin() const noexcept
    {
        return {get(), 0};
    }

    iterator end() const noexcept
    {
        return {get(), size()};
    }

  private:
    std::unique_ptr<st_file, releaser<st_file_close>> file_;
};

/** Files that together hold tensors: see st_checkpoint. Movable. */
class checkpoint
{
  public:
    /** @param path  of a file, an index, or a folder. */
    explicit checkpoint(const std::string &path, const st_open_options *options = nullptr)
    {
        st_error what;
        st_checkpoint *opened = nullptr;
        check(st_checkpoint_open(path.c_str(), options, &opened, &what), what);
        checkpoint_.reset(opened);
    }

    const st_checkpoint *get() const noexcept
    {
        return checkpoint_.get();
    }

    std::size_t size() const noexcept
    {
        return st_checkpoint_count(get());
    }

    st_checkpoint_tensor operator[](std::size_t index) const noexcept
    {
        return st_checkpoint_at(get(), index);
    }

    /** Finds a tensor by name; false if there is none. */
    bool find(std::string_view name, st_checkpoint_tensor &out) const noexcept
    {
        return st_checkpoint_find(get(), name.data(), name.size(), &out);
    }

    /** Finds a tensor by name. Throws std::out_of_range if there is none. */
    st_checkpoint_tensor at(std::string_view name) const
    {
        st_checkpoint_tensor found;
        if (!find(name, found))
            throw std::out_of_range(std::string(st_checkpoint_name(get())) + ": no tensor \"" +
                                    std::string(name) + "\"");
        return found;
    }

    std::vector<std::byte> read(const st_checkpoint_tensor &one) const
    {
        st_error what;
        std::vector<std::byte> bytes(static_cast<std::size_t>(st_tensor_size(one.tensor)));
        check(st_file_read(one.file, one.tensor, nullptr, bytes.data(), bytes.size(), &what), what);
        return bytes;
    }

    /** Writes it as shards and their index into a folder: see st_split_write. */
    void split(const std::string &folder, const st_split_options *options = nullptr) const
    {
        st_error what;
        st_split *made = nullptr;
        check(st_split_new(get(), options, &made, &what), what);
        std::unique_ptr<st_split, releaser<st_split_free>> plan(made);
        check(st_split_write(made, folder.c_str(), &what), what);
    }

    /** Writes it as one file: see st_checkpoint_merge. */
    void merge(st_sink *sink, const st_edit_options *options = nullptr) const
    {
        st_error what;
        st_edit *made = nullptr;
        check(st_checkpoint_merge(get(), options, &made, &what), what);
        std::unique_ptr<st_edit, releaser<st_edit_free>> edit(made);
        check(st_edit_write(made, sink, nullptr, &what), what);
    }

    /** Writes several as one file: see st_checkpoint_cat. */
    static void cat(const std::vector<st_cat_input> &inputs, st_sink *sink,
                    const st_cat_options *how = nullptr, const st_edit_options *options = nullptr)
    {
        st_error what;
        st_edit *made = nullptr;
        check(st_checkpoint_cat(inputs.data(), inputs.size(), how, options, &made, &what), what);
        std::unique_ptr<st_edit, releaser<st_edit_free>> edit(made);
        check(st_edit_write(made, sink, nullptr, &what), what);
    }

    /** Writes an index of all its tensors: see st_checkpoint_index_write. */
    void write_index(const std::string &path, const st_sink_options *options = nullptr) const
    {
        st_error what;
        check(st_checkpoint_index_write(get(), path.c_str(), options, &what), what);
    }

    /** Ends what interrupted edits have left: see st_checkpoint_recover. True: files were changed. */
    static bool recover(const std::string &path, st_context *context = nullptr)
    {
        st_error what;
        bool changed = false;
        check(st_checkpoint_recover(path.c_str(), context, &changed, &what), what);
        return changed;
    }

    /** Calls `fn` with each st_checkpoint_recovery of what recover would put right, until it gives false or throws, which is
     *  thrown on: see st_checkpoint_recovery_look. False: it ended the search. */
    template <class Fn>
    static bool recovery_look(const std::string &path, Fn fn, st_context *context = nullptr)
    {
        search<Fn> run{fn, nullptr};
        st_error what;
        const st_status status =
            st_checkpoint_recovery_look(path.c_str(), context, search<Fn>::next, &run, &what);
        if (run.thrown)
            std::rethrow_exception(run.thrown);
        if (status == ST_ERR_STOPPED)
            return false;
        check(status, what);
        return true;
    }

  private:
    /** What is thrown must not pass through C. */
    template <class Fn> struct search {
        Fn &fn;
        std::exception_ptr thrown;

        static bool next(void *ctx, const st_checkpoint_recovery *found) noexcept
        {
            search &run = *static_cast<search *>(ctx);
            try {
                return run.fn(*found);
            } catch (...) {
                run.thrown = std::current_exception();
                return false;
            }
        }
    };

    std::unique_ptr<st_checkpoint, releaser<st_checkpoint_close>> checkpoint_;
};

/** Changes to the files of a checkpoint, which has to stay open as long: see st_checkpoint_edit. Movable. */
class checkpoint_edit
{
  public:
    explicit checkpoint_edit(const checkpoint &of, const st_edit_options *options = nullptr)
    {
        st_error what;
        st_checkpoint_edit *made = nullptr;
        check(st_checkpoint_edit_new(of.get(), options, &made, &what), what);
        edit_.reset(made);
    }

    st_checkpoint_edit *get() const noexcept
    {
        return edit_.get();
    }

    /** Gives the edit of a file, borrowed, for the calls of edit.h. */
    st_edit *operator[](std::size_t file) const noexcept
    {
        return st_checkpoint_edit_at(get(), file);
    }

    st_edit_summary look()
    {
        st_error what;
        st_edit_summary summary;
        check(st_checkpoint_edit_look(get(), &summary, &what), what);
        return summary;
    }

    /** Writes all files and the index in the place of the old ones, or into a folder. */
    st_edit_summary write(const char *folder = nullptr, const st_sink_options *options = nullptr)
    {
        st_error what;
        st_edit_summary summary;
        check(st_checkpoint_edit_write(get(), folder, options, &summary, &what), what);
        return summary;
    }

    st_edit_summary look_in_place()
    {
        st_error what;
        st_edit_summary summary;
        check(st_checkpoint_edit_look_in_place(get(), &summary, &what), what);
        return summary;
    }

    st_edit_summary write_in_place()
    {
        st_error what;
        st_edit_summary summary;
        check(st_checkpoint_edit_write_in_place(get(), &summary, &what), what);
        return summary;
    }

  private:
    std::unique_ptr<st_checkpoint_edit, releaser<st_checkpoint_edit_free>> edit_;
};

/** One item of a load that is complete: see st_loaded. */
struct loaded {
    std::size_t item = ST_LOAD_END;
    void *data = nullptr;
    std::size_t size = 0;
    buffer_ptr buffer; /**< what holds `data`; none for an item with a destination of its own */
    std::uint64_t done = 0;
    std::uint64_t total = 0;
};

/** A load under way, and the range of its items in the order in which they become complete, which can be gone
 *  through once: see st_load. Movable. */
class load
{
  public:
    explicit load(const std::vector<st_load_item> &items, const st_load_options *options = nullptr)
    {
        start(items, options);
    }

    /** Loads all tensors of a file; `loaded::item` is a tensor's index. The file must outlive the load. */
    explicit load(const file &from, const st_load_options *options = nullptr)
    {
        std::vector<st_load_item> items(from.size());
        for (std::size_t i = 0; i < items.size(); i++) {
            items[i].file = from.get();
            items[i].tensor = &from[i];
        }
        start(items, options);
    }

    st_load *get() const noexcept
    {
        return load_.get();
    }

    /** Waits for the next item; false when there is none. */
    bool next(loaded &out)
    {
        st_error what;
        st_loaded got{};
        check(st_load_next(get(), &got, &what), what);
        out.item = got.item;
        out.data = got.data;
        out.size = got.size;
        out.buffer.reset(got.buffer);
        out.done = got.done;
        out.total = got.total;
        return got.item != ST_LOAD_END;
    }

    /** From any thread: next() throws ST_ERR_STOPPED from now on. */
    void cancel() noexcept
    {
        st_load_cancel(get());
    }

    std::size_t file_count() const noexcept
    {
        return st_load_file_count(get());
    }

    st_explanation explain(std::size_t index = 0) const noexcept
    {
        st_explanation told{};
        st_load_explain(get(), index, &told);
        return told;
    }

    /** Walks what is complete; all iterators of a load stand at the same item. */
    class iterator
    {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = loaded;
        using difference_type = std::ptrdiff_t;
        using pointer = loaded *;
        using reference = loaded &;

        iterator() = default;
        explicit iterator(load *of) : of_(of)
        {
            ++*this;
        }

        reference operator*() const
        {
            return of_->current_;
        }

        pointer operator->() const
        {
            return &of_->current_;
        }

        iterator &operator++()
        {
            if (!of_->next(of_->current_))
                of_ = nullptr;
            return *this;
        }

        void operator++(int)
        {
            ++*this;
        }

        friend bool operator==(const iterator &a, const iterator &b)
        {
            return a.of_ == b.of_;
        }

        friend bool operator!=(const iterator &a, const iterator &b)
        {
            return !(a == b);
        }

      private:
        load *of_ = nullptr;
    };

    iterator begin()
    {
        return iterator(this);
    }

    iterator end() noexcept
    {
        return {};
    }

  private:
    void start(const std::vector<st_load_item> &items, const st_load_options *options)
    {
        st_error what;
        st_load *started = nullptr;
        check(st_load_start(items.data(), items.size(), options, &started, &what), what);
        load_.reset(started);
    }

    std::unique_ptr<st_load, releaser<st_load_free>> load_;
    loaded current_;
};

/** Where a file is written: see st_sink. What a writer did not finish leaves nothing behind. Movable. */
class sink
{
  public:
    explicit sink(const std::string &path, const st_sink_options *options = nullptr)
    {
        st_error what;
        st_sink *opened = nullptr;
        check(st_sink_open(path.c_str(), options, &opened, &what), what);
        sink_.reset(opened);
    }

    /** Uses a duplicate of a descriptor: see st_sink_open_fd. */
    explicit sink(int descriptor, const st_sink_options *options = nullptr)
    {
        st_error what;
        st_sink *opened = nullptr;
        check(st_sink_open_fd(descriptor, options, &opened, &what), what);
        sink_.reset(opened);
    }

    sink(void *memory, std::size_t size, const st_sink_options *options = nullptr)
    {
        st_error what;
        st_sink *opened = nullptr;
        check(st_sink_open_memory(memory, size, options, &opened, &what), what);
        sink_.reset(opened);
    }

    /** Wraps a sink of the caller's own, which on failure stays the caller's. */
    sink(const st_sink_vtable &vtable, void *self, const st_sink_options *options = nullptr)
    {
        st_error what;
        st_sink *opened = nullptr;
        check(st_sink_new(&vtable, self, options, &opened, &what), what);
        sink_.reset(opened);
    }

    st_sink *get() const noexcept
    {
        return sink_.get();
    }

  private:
    sink_ptr sink_;
};

/** A file being written: see st_writer. Movable. */
class writer
{
  public:
    explicit writer(const st_writer_options *options = nullptr)
    {
        st_error what;
        st_writer *made = nullptr;
        check(st_writer_new(options, &made, &what), what);
        writer_.reset(made);
    }

    st_writer *get() const noexcept
    {
        return writer_.get();
    }

    std::size_t add(const st_tensor &tensor)
    {
        st_error what;
        std::size_t index = 0;
        check(st_writer_add(get(), &tensor, &index, &what), what);
        return index;
    }

    std::size_t add(std::string_view name, st_dtype dtype, const std::vector<std::uint64_t> &shape)
    {
        st_tensor tensor{};
        tensor.name = name.data();
        tensor.name_len = static_cast<std::uint32_t>(name.size());
        tensor.dtype = dtype;
        tensor.shape = shape.data();
        tensor.ndim = static_cast<std::uint32_t>(shape.size());
        return add(tensor);
    }

    /** Makes a dtype for a code that is unknown: see st_writer_add_dtype. */
    st_dtype add_dtype(std::string_view code)
    {
        st_error what;
        st_dtype dtype = 0;
        check(st_writer_add_dtype(get(), code.data(), code.size(), &dtype, &what), what);
        return dtype;
    }

    void add_metadata(std::string_view key, std::string_view value)
    {
        st_error what;
        st_metadata entry{key.data(), static_cast<std::uint32_t>(key.size()),
                          static_cast<std::uint32_t>(value.size()), value.data()};
        check(st_writer_add_metadata(get(), &entry, &what), what);
    }

    /** Gives the number of tensors added. */
    std::size_t size() const noexcept
    {
        return st_writer_count(get());
    }

    const st_tensor &operator[](std::size_t index) const
    {
        return *st_writer_at(get(), index);
    }

    /** Lays the file out and gives its size in bytes. */
    std::uint64_t file_size()
    {
        st_error what;
        std::uint64_t bytes = 0;
        check(st_writer_size(get(), &bytes, &what), what);
        return bytes;
    }

    void begin(const sink &to)
    {
        st_error what;
        check(st_writer_begin(get(), to.get(), &what), what);
    }

    void write(std::size_t index, const void *data, std::size_t size, std::uint64_t offset = 0)
    {
        st_error what;
        check(st_writer_write(get(), index, offset, data, size, &what), what);
    }

    void write(std::size_t index, const st_array &array)
    {
        st_error what;
        check(st_writer_write_array(get(), index, &array, &what), what);
    }

    void copy_from(const file &from, const std::vector<st_copy> &copies)
    {
        st_error what;
        check(st_writer_copy_from(get(), from.get(), copies.data(), copies.size(), &what), what);
    }

    void finish()
    {
        st_error what;
        check(st_writer_finish(get(), &what), what);
    }

  private:
    std::unique_ptr<st_writer, releaser<st_writer_free>> writer_;
};

} // namespace safetensors

#endif
