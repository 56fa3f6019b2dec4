/* SPDX-License-Identifier: Apache-2.0 */
/* The C++ wrapper: lists, reads a part, loads all, and meets a failure. inspect FILE. */
#include <safetensors/safetensors.hpp>

#include <cstring>
#include <iostream>

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::cerr << "usage: inspect FILE\n";
        return 2;
    }
    try {
        safetensors::file file(argv[1]);
        for (const st_tensor &tensor : file)
            std::cout << safetensors::name(tensor) << ' ' << st_dtype_code(tensor.dtype) << '\n';
        std::cout << "format: " << file.metadata("format") << '\n';

        std::vector<std::byte> row = file.read(file.at("weight"), "1");
        for (std::size_t i = 0; i < row.size() / sizeof(float); i++)
            std::cout << st_element_decode(ST_F32, row.data(), i).as.f[0] << '\n';

        safetensors::load load(file);
        for (safetensors::loaded &one : load)
            std::cout << safetensors::name(file[one.item]) << ": " << one.size << " bytes\n";
        std::cout << load.explain().bytes << " bytes of " << load.file_count() << " file\n";

        file.read(file.at("weight"), "2");
    } catch (const safetensors::error &error) {
        std::cout << st_status_name(error.status()) << '\n';
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return 0;
}
